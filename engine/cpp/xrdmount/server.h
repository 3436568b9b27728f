// The server, as each user sees it.
//
// Each user has connections of his own, on which the server has authenticated him by sss: the key is this machine's,
// the name is the user's. So it is the server who decides what a user may do, and nothing is answered by another's
// right.
//
// A server that is away is asked again until the request's time is over, then the request fails with EIO. When the
// server has been away for longer than that, a request is tried once: nobody queues behind it for ever.
#pragma once

#include <XrdCl/XrdClFileSystem.hh>
#include <XrdSecsss/XrdSecsssID.hh>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "config.h"

namespace xrdmount {

class Server;

/// One user's access to the server.
class Connection {
  public:
    Connection(Server& server, std::string user);

    /// The URL of a path, for XrdCl::File.
    std::string url(const std::string& path) const;

    using Request = std::function<XrdCl::XRootDStatus(uint16_t seconds)>;

    /// Repeats `request`, which gets the seconds that it may take, while the server is away. Throws Failure. What takes
    /// its time on a server that is well, such as writing all to the disk, gets `patience` times as long.
    void persist(const Request& request, int patience = 1);

    XrdCl::FileSystem& files() { return files_; }
    const std::string& user() const { return user_; }

  private:
    Server& server_;
    const std::string user_;
    XrdCl::FileSystem files_;
};

class Server {
  public:
    explicit Server(const Config& config);

    /// The connection of a user.
    std::shared_ptr<Connection> as(const std::string& user);

  private:
    friend class Connection;
    using Clock = std::chrono::steady_clock;

    /// Until when a request that begins now may be repeated.
    Clock::time_point deadline(int patience) const;
    void told(bool present);

    const std::string address_;
    const Clock::duration timeout_;
    XrdSecsssID* identities_;  // of the whole process; the library never deletes it
    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<Connection>> connections_;
    std::atomic<Clock::rep> away_since_{0};  // 0: it is there
};

/// How many times as long as others a request may take that writes all to the disk.
constexpr int PATIENCE = 10;

/// What error_number gives when the server's file system refused, and the protocol has no number for the reason.
constexpr int NO_NUMBER = ENODEV;

/// The errno of what a server or XrdCl says.
int error_number(const XrdCl::XRootDStatus& status);

/// Whether it is not an answer of the server but the lack of one.
bool is_away(const XrdCl::XRootDStatus& status);

}  // namespace xrdmount
