#include "inodes.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <vector>

#include "failure.h"

namespace xrdmount {

Inodes::Inodes(std::string root) {
    numbers_[root] = ROOT;
    nodes_[ROOT] = {.path = std::move(root), .told = std::numeric_limits<uint64_t>::max()};
}

std::string Inodes::path(Number number) const {
    const std::lock_guard lock(mutex_);
    const auto node = nodes_.find(number);
    if (node == nodes_.end() || node->second.path.empty()) throw Failure{ESTALE};
    return node->second.path;
}

Inodes::Number Inodes::told(const std::string& path, const Attributes& attributes) {
    const std::lock_guard lock(mutex_);
    if (const auto known = numbers_.find(path); known != numbers_.end()) {
        auto& node = nodes_.at(known->second);
        if (known->second == ROOT) return ROOT;
        if (node.on_disk == attributes.inode()) {
            ++node.told;
            return known->second;
        }
        detach(path);
    }
    nodes_[next_] = {.path = path, .on_disk = attributes.inode(), .told = 1};
    numbers_[path] = next_;
    return next_++;
}

bool Inodes::stands_for(Number number, const Attributes& attributes) const {
    const std::lock_guard lock(mutex_);
    const auto node = nodes_.find(number);
    return node != nodes_.end() && node->second.on_disk == attributes.inode();
}

void Inodes::forget(Number number, uint64_t times) {
    const std::lock_guard lock(mutex_);
    const auto node = nodes_.find(number);
    if (node == nodes_.end() || number == ROOT) return;
    node->second.told -= std::min(times, node->second.told);
    if (node->second.told != 0) return;
    if (!node->second.path.empty()) numbers_.erase(node->second.path);
    nodes_.erase(node);
}

void Inodes::detach(const std::string& path) {
    const auto known = numbers_.find(path);
    if (known == numbers_.end()) return;
    nodes_.at(known->second).path.clear();
    numbers_.erase(known);
}

void Inodes::renamed(const std::string& from, const std::string& to) {
    const std::lock_guard lock(mutex_);
    if (from == to) return;
    detach(to);
    std::vector<std::pair<std::string, Number>> moved;
    for (const auto& [path, number] : numbers_)
        if (path == from || path.compare(0, from.size() + 1, from + "/") == 0) moved.emplace_back(path, number);
    for (const auto& [path, number] : moved) {
        numbers_.erase(path);
        const auto now = to + path.substr(from.size());
        detach(now);
        numbers_[now] = number;
        nodes_.at(number).path = now;
    }
    for (const auto& [handle, open] : open_) open.file->unlinked(to);
    for (const auto& [handle, open] : open_) open.file->renamed(from, to);
}

void Inodes::unlinked(const std::string& path) {
    const std::lock_guard lock(mutex_);
    detach(path);
    for (const auto& [handle, open] : open_) open.file->unlinked(path);
}

uint64_t Inodes::keep(Number number, std::unique_ptr<RemoteFile> file) {
    const std::lock_guard lock(mutex_);
    open_[next_handle_] = {number, std::move(file)};
    return next_handle_++;
}

std::shared_ptr<RemoteFile> Inodes::opened(uint64_t handle) const {
    const std::lock_guard lock(mutex_);
    const auto open = open_.find(handle);
    if (open == open_.end()) throw Failure{EBADF};
    return open->second.file;
}

void Inodes::close(uint64_t handle) {
    std::shared_ptr<RemoteFile> last;  // goes after the lock: the server is told, which takes its time
    const std::lock_guard lock(mutex_);
    const auto open = open_.find(handle);
    if (open == open_.end()) return;
    last = std::move(open->second.file);
    open_.erase(open);
}

std::shared_ptr<RemoteFile> Inodes::any(Number number) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [handle, open] : open_)
        if (open.number == number) return open.file;
    return nullptr;
}

}  // namespace xrdmount
