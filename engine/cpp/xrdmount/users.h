// users.json: who is behind a uid, and where the homes are.
//
//     {"ada":     {"uid": 123456, "home": "/eos/user/a/ada", "quota": "/eos/user/a/ada/.quota"},
//      "machine": {"uid": 0}}
//
// `home` and `quota` are paths on the server and may be left out. `quota` is a file that the server writes, with two
// numbers of bytes: the limit and what is used. The file is read again when it changes; one that cannot be used is told
// once, and the last good one stays.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace xrdmount {

struct User {
    std::string name;
    uid_t uid = 0;
    std::string home;
    std::string quota;
};

class Users {
  public:
    /// Throws Problem when the file cannot be used.
    explicit Users(std::string file);

    /// Who has this uid now. Throws Failure EACCES when nobody has.
    User of(uid_t uid);

    /// In whose home a path on the server lies, or whose home it is.
    std::optional<User> owner(const std::string& path);

  private:
    struct Table {
        std::map<uid_t, User> by_uid;
        std::map<std::string, User> by_home;
    };

    Table parsed() const;
    std::shared_ptr<const Table> table();
    struct stat status() const;

    const std::string file_;
    std::mutex mutex_;
    struct stat seen_ {};
    std::chrono::steady_clock::time_point looked_;
    std::shared_ptr<const Table> table_;
};

}  // namespace xrdmount
