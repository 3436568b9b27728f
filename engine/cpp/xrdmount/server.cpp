#include "server.h"

#include <XProtocol/XProtocol.hh>
#include <XrdCl/XrdClDefaultEnv.hh>
#include <XrdSec/XrdSecEntity.hh>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "failure.h"

namespace xrdmount {

namespace {

constexpr std::chrono::milliseconds PAUSE{200};

/// Repeating is ours alone, so that it ends when it should: XrdCl is to say at once that there is no connection, and to
/// try anew with the next request. These have to be set before the first connection.
void set_up_client(const Config& config) {
    auto* environment = XrdCl::DefaultEnv::GetEnv();
    const int timeout = static_cast<int>(config.timeout.count());
    environment->PutInt("ConnectionWindow", timeout);
    environment->PutInt("ConnectionRetry", 1);
    environment->PutInt("StreamErrorWindow", 0);
    environment->PutInt("RequestTimeout", timeout);
    // A request that takes long is no reason to break the connection of all others; a dead machine is.
    environment->PutInt("StreamTimeout", PATIENCE * timeout);
    environment->PutInt("TCPKeepAlive", 1);
    environment->PutInt("TCPKeepAliveTime", timeout);
    environment->PutInt("TCPKeepAliveInterval", timeout);
    environment->PutInt("TCPKeepAliveProbes", 2);
    environment->PutInt("TimeoutResolution", 1);
    environment->PutInt("RunForkHandler", 0);
    environment->PutString("ReadRecovery", "false");
    environment->PutString("WriteRecovery", "false");
    environment->PutString("OpenRecovery", "false");
    setenv("XrdSecPROTOCOL", "sss", 1);
    // XrdCl reads a key that is named here once. One that the server names it reads when it first names it: so another
    // key, under another name, needs no new start.
    if (!config.keytab.empty()) setenv("XrdSecSSSKT", config.keytab.c_str(), 1);
}

}  // namespace

Connection::Connection(Server& server, std::string user)
    : server_(server), user_(std::move(user)), files_(XrdCl::URL(url("/")), false) {}

std::string Connection::url(const std::string& path) const {
    return "root://" + user_ + "@" + server_.address_ + "/" + path;
}

void Connection::persist(const Request& request, int patience) {
    const auto deadline = server_.deadline(patience);
    for (bool repeated = false;; repeated = true) {
        const auto left = std::chrono::ceil<std::chrono::seconds>(deadline - Server::Clock::now()).count();
        const auto status = request(static_cast<uint16_t>(std::max<long>(left, 1)));
        const bool away = is_away(status);
        server_.told(!away);
        if (status.IsOK()) return;
        if (!away) throw Failure{error_number(status), repeated};
        if (Server::Clock::now() + PAUSE >= deadline) throw Failure{EIO, repeated};
        std::this_thread::sleep_for(PAUSE);
    }
}

Server::Server(const Config& config)
    : address_(config.server.substr(std::string("root://").size())), timeout_(config.timeout) {
    set_up_client(config);
    identities_ = new XrdSecsssID(XrdSecsssID::idMapped);
}

std::shared_ptr<Connection> Server::as(const std::string& user) {
    const std::lock_guard lock(mutex_);
    auto& connection = connections_[user];
    if (!connection) {
        std::string name = user;
        XrdSecEntity entity("sss");
        entity.name = name.data();
        identities_->Register(user.c_str(), &entity);
        connection = std::make_shared<Connection>(*this, user);
    }
    return connection;
}

Server::Clock::time_point Server::deadline(int patience) const {
    const auto now = Clock::now();
    const Clock::time_point since{Clock::duration(away_since_.load())};
    return away_since_ != 0 && now - since > timeout_ ? now + std::chrono::seconds(1) : now + patience * timeout_;
}

void Server::told(bool present) {
    Clock::rep there = 0;
    if (present) {
        if (away_since_.exchange(0) != 0) std::fprintf(stderr, "%s answers again\n", address_.c_str());
    } else if (away_since_.compare_exchange_strong(there, Clock::now().time_since_epoch().count())) {
        std::fprintf(stderr, "%s does not answer\n", address_.c_str());
    }
}

int error_number(const XrdCl::XRootDStatus& status) {
    if (status.code == XrdCl::errAuthFailed || status.code == XrdCl::errLoginFailed) return EACCES;
    if (status.code != XrdCl::errErrorResponse) return EIO;
    switch (status.errNo) {
        case kXR_FileLocked: return EBUSY;
        case kXR_FileNotOpen: return EBADF;
        case kXR_NotFile: return ENOTDIR;
        case kXR_Unsupported: return EOPNOTSUPP;
        case kXR_FSError: return NO_NUMBER;
        case kXR_ServerError:
        case kXR_InvalidRequest: return EIO;
        default: return XProtocol::toErrno(static_cast<int>(status.errNo));
    }
}

bool is_away(const XrdCl::XRootDStatus& status) {
    switch (status.IsOK() ? XrdCl::errNone : status.code) {
        case XrdCl::errSocketError:
        case XrdCl::errSocketTimeout:
        case XrdCl::errSocketDisconnected:
        case XrdCl::errPollerError:
        case XrdCl::errStreamDisconnect:
        case XrdCl::errConnectionError:
        case XrdCl::errInvalidSession:
        case XrdCl::errHandShakeFailed:
        case XrdCl::errOperationExpired:
        case XrdCl::errOperationInterrupted: return true;
        default: return false;
    }
}

}  // namespace xrdmount
