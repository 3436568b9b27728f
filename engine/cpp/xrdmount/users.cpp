#include "users.h"

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "failure.h"

namespace xrdmount {

namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds LOOK_AGAIN{500};

bool same(const struct stat& one, const struct stat& other) {
    return one.st_ino == other.st_ino && one.st_size == other.st_size && one.st_mtim.tv_sec == other.st_mtim.tv_sec &&
           one.st_mtim.tv_nsec == other.st_mtim.tv_nsec;
}

User user(const std::string& name, const Json& json) {
    // The name stands in URLs and in the server's access file.
    static const std::regex usable("[A-Za-z0-9_][A-Za-z0-9._-]*");
    if (!std::regex_match(name, usable))
        throw std::invalid_argument("the name has other letters than A-Z a-z 0-9 . _ -");
    User result{.name = name, .uid = json.at("uid").get<uid_t>(), .home = json.value("home", ""),
                .quota = json.value("quota", "")};
    for (const auto& path : {result.home, result.quota})
        if (!path.empty() && (path.front() != '/' || path.back() == '/'))
            throw std::invalid_argument(path + " has to begin with / and not to end with /");
    return result;
}

}  // namespace

Users::Users(std::string file) : file_(std::move(file)), seen_(status()), table_(std::make_shared<Table>(parsed())) {}

struct stat Users::status() const {
    struct stat now {};
    stat(file_.c_str(), &now);
    return now;
}

Users::Table Users::parsed() const {
    const auto refused = [&](const std::string& where, const std::string& why) {
        return Problem("the list of users cannot be used", where, why, "edit " + file_);
    };
    std::ifstream stream(file_);
    if (!stream) throw refused(file_, "it cannot be opened");
    Table table;
    std::string name;
    try {
        const auto json = Json::parse(stream);
        for (const auto& [key, value] : json.items()) {
            name = ": " + key;
            const User found = user(key, value);
            if (!table.by_uid.emplace(found.uid, found).second) throw std::invalid_argument("another has this uid too");
            if (!found.home.empty()) table.by_home.emplace(found.home, found);
        }
    } catch (const std::exception& error) {
        throw refused(file_ + name, error.what());
    }
    return table;
}

std::shared_ptr<const Users::Table> Users::table() {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - looked_ < LOOK_AGAIN) return table_;
    looked_ = now;
    if (const auto found = status(); !same(found, seen_)) {
        seen_ = found;
        try {
            table_ = std::make_shared<Table>(parsed());
        } catch (const Problem& problem) {
            std::fprintf(stderr, "%s\n", problem.what());
        }
    }
    return table_;
}

User Users::of(uid_t uid) {
    const auto users = table();
    const auto found = users->by_uid.find(uid);
    if (found == users->by_uid.end()) throw Failure{EACCES};
    return found->second;
}

std::optional<User> Users::owner(const std::string& path) {
    const auto users = table();
    for (auto end = path.size(); end != 0 && end != std::string::npos; end = path.rfind('/', end - 1)) {
        const auto found = users->by_home.find(path.substr(0, end));
        if (found != users->by_home.end()) return found->second;
    }
    return std::nullopt;
}

}  // namespace xrdmount
