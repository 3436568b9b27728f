// The tree of files that one user sees: the operations of POSIX, made of those that the protocol has.
//
// Paths are the server's. All functions throw Failure, and all ask the server in the name of the user; what it refuses
// is refused. What is not as on a disk:
//
// - All files belong to who owns the home that they lie in, and to group 100; elsewhere to root. chown changes nothing.
// - Times are whole seconds, and the server's: the protocol cannot set them. Setting them is accepted and not done.
// - Permissions are nine bits, and others never get the right to write; who may do what is the server's own list.
// - There are no hard links, no devices, and no names with '?' or a newline (the protocol uses both itself).
// - Locks are those of the machine: another machine does not see them.
#pragma once

#include <sys/statvfs.h>

#include <functional>
#include <memory>
#include <string>

#include "attributes.h"
#include "config.h"
#include "inodes.h"
#include "remote_file.h"
#include "server.h"
#include "users.h"

namespace xrdmount {

/// What is one for all users.
struct Shared {
    const Config& config;
    Server& server;
    Users& users;
    AttributeCache& cache;
    Inodes& inodes;
};

/// An entry of a folder. The attributes are those that the listing says.
using Listed = std::function<void(const std::string& name, const Attributes& attributes)>;

class Tree {
  public:
    /// As who has this uid. Throws Failure EACCES when nobody has.
    Tree(Shared& shared, uid_t uid);

    Attributes attributes(const std::string& path);
    void list(const std::string& path, const Listed& listed);
    std::string target(const std::string& link);
    struct statvfs space(const std::string& path);

    std::unique_ptr<RemoteFile> open(const std::string& path, int flags);
    std::unique_ptr<RemoteFile> create(const std::string& path, int flags, mode_t mode);
    void make_folder(const std::string& path, mode_t mode);
    void make_link(const std::string& path, const std::string& target);
    void remove_file(const std::string& path);
    void remove_folder(const std::string& path);
    void rename(const std::string& from, const std::string& to);
    void change_mode(const std::string& path, mode_t mode);
    void truncate(const std::string& path, uint64_t size);

  private:
    std::string asked(const std::string& path) const;
    void changed(const std::string& path);
    void resolve(const std::string& path, Attributes& attributes);
    std::string content(const std::string& path, std::size_t most);
    void persist(const Connection::Request& request);

    Shared& shared_;
    const User user_;
    const std::shared_ptr<Connection> connection_;
};

}  // namespace xrdmount
