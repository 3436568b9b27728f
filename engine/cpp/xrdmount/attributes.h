// What the server said of files, remembered for a moment: for each user what he himself was told.
//
// The kernel is told to remember nothing (its entries and attributes are the same for all users, so bob would be shown
// what only ada may see): it asks for each step of each path, in the name of who takes that step. Here the answers are
// kept by user, which makes the second step to the same place cheap and cannot show anybody what he was refused.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <XrdCl/XrdClXRootDResponses.hh>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace xrdmount {

struct Attributes {
    uint64_t id = 0;  // of the file on the server's disk, whatever its name
    uint64_t size = 0;
    time_t accessed = 0;
    time_t modified = 0;
    time_t changed = 0;
    mode_t mode = 0;  // type and permissions
    std::string target;  // of a symbolic link

    static Attributes of(const XrdCl::StatInfo& info);

    /// The number of the file on its disk. (The other half of the id is the disk, which has another number after a
    /// restart of the server's machine.)
    uint32_t inode() const { return static_cast<uint32_t>(id >> 32); }
};

class AttributeCache {
  public:
    using Clock = std::chrono::steady_clock;

    explicit AttributeCache(Clock::duration lifetime);

    /// What this user was told within the lifetime.
    std::optional<Attributes> find(const std::string& user, const std::string& path) const;

    /// What this user was told last, however long ago.
    std::optional<Attributes> last(const std::string& user, const std::string& path) const;

    /// Remembers an answer to what was asked at `asked`, unless the path changed meanwhile.
    void put(const std::string& user, const std::string& path, const Attributes& attributes, Clock::time_point asked);

    /// The path changed: nobody is told the old state any more.
    void forget(const std::string& path);

    /// All below the path changed its name.
    void forget_tree(const std::string& path);

  private:
    struct Told {
        Attributes attributes;
        Clock::time_point asked;
    };
    struct Entry {
        Clock::time_point changed;
        std::map<std::string, Told> told;
    };

    /// Drops what nobody needs any more.
    void sweep(Clock::time_point now);

    const Clock::duration lifetime_;
    mutable std::mutex mutex_;
    std::unordered_map<std::string, Entry> entries_;
    std::size_t sweep_at_;
    Clock::time_point all_changed_;
};

}  // namespace xrdmount
