#include "attributes.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>

namespace xrdmount {

namespace {

constexpr std::size_t MANY = 50'000;  // some 15 MB
// An answer that comes later than this after its question is not remembered. So a change need not be, either.
constexpr std::chrono::minutes LATEST{1};

}  // namespace

Attributes Attributes::of(const XrdCl::StatInfo& info) {
    const bool folder = info.TestFlags(XrdCl::StatInfo::IsDir);
    Attributes result;
    result.id = std::strtoull(info.GetId().c_str(), nullptr, 10);
    result.size = info.GetSize();
    result.modified = static_cast<time_t>(info.GetModTime());
    if (info.ExtendedFormat()) {
        result.mode = static_cast<mode_t>(std::strtoul(info.GetModeAsString().c_str(), nullptr, 8)) & 07777;
        result.accessed = static_cast<time_t>(info.GetAccessTime());
        result.changed = static_cast<time_t>(info.GetChangeTime());
    } else {  // a server older than version 5
        result.mode = folder || info.TestFlags(XrdCl::StatInfo::XBitSet) ? 0755 : 0644;
        result.accessed = result.changed = result.modified;
    }
    result.mode |= folder ? S_IFDIR : S_IFREG;
    return result;
}

AttributeCache::AttributeCache(Clock::duration lifetime) : lifetime_(lifetime), sweep_at_(MANY) {}

std::optional<Attributes> AttributeCache::find(const std::string& user, const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(path);
    if (entry == entries_.end()) return std::nullopt;
    const auto told = entry->second.told.find(user);
    if (told == entry->second.told.end() || Clock::now() - told->second.asked >= lifetime_) return std::nullopt;
    return told->second.attributes;
}

std::optional<Attributes> AttributeCache::last(const std::string& user, const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(path);
    if (entry == entries_.end()) return std::nullopt;
    const auto told = entry->second.told.find(user);
    if (told == entry->second.told.end()) return std::nullopt;
    return told->second.attributes;
}

void AttributeCache::put(const std::string& user, const std::string& path, const Attributes& attributes,
                         Clock::time_point asked) {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (entries_.size() >= sweep_at_) sweep(now);
    if (now - asked >= LATEST || asked <= all_changed_) return;
    auto& entry = entries_[path];
    if (asked > entry.changed) entry.told[user] = {attributes, asked};
}

void AttributeCache::forget(const std::string& path) {
    const std::lock_guard lock(mutex_);
    auto& entry = entries_[path];
    entry.changed = Clock::now();
    entry.told.clear();
}

void AttributeCache::forget_tree(const std::string& path) {
    const std::lock_guard lock(mutex_);
    all_changed_ = Clock::now();
    std::erase_if(entries_, [&](const auto& entry) {
        return entry.first == path || entry.first.compare(0, path.size() + 1, path + "/") == 0;
    });
}

void AttributeCache::sweep(Clock::time_point now) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        auto& [changed, told] = entry->second;
        std::erase_if(told, [&](const auto& one) { return now - one.second.asked >= lifetime_; });
        entry = told.empty() && now - changed >= LATEST ? entries_.erase(entry) : std::next(entry);
    }
    sweep_at_ = std::max(MANY, 2 * entries_.size());
}

}  // namespace xrdmount
