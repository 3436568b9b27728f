#define FUSE_USE_VERSION 312

#include "filesystem.h"

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "failure.h"

namespace xrdmount {

namespace {

constexpr unsigned REQUEST = 1 << 20;  // bytes of a read or a write, at most
constexpr gid_t USERS = 100;
// Each waits for the server. A server that is away holds up no more than this many at once.
constexpr unsigned THREADS = 32;

Shared* shared;

/// An open folder: what it held when it was read first.
struct Listing {
    std::string path;
    bool read = false;
    std::vector<std::pair<std::string, struct stat>> entries;
};

Tree tree(fuse_req_t request) { return {*shared, fuse_req_ctx(request)->uid}; }

std::string path(fuse_ino_t inode) { return shared->inodes.path(inode); }

std::string path(fuse_ino_t folder, const char* name) { return path(folder) + "/" + name; }

struct stat status_of(const std::string& path, const Attributes& attributes) {
    const auto owner = shared->users.owner(path);
    struct stat status {};
    status.st_ino = attributes.id;
    status.st_mode = attributes.mode;
    status.st_nlink = 1;
    status.st_uid = owner ? owner->uid : 0;
    status.st_gid = owner ? USERS : 0;
    status.st_size = static_cast<off_t>(attributes.size);
    status.st_blocks = (status.st_size + 511) / 512;
    status.st_blksize = REQUEST;
    status.st_atim.tv_sec = attributes.accessed;
    status.st_mtim.tv_sec = attributes.modified;
    status.st_ctim.tv_sec = attributes.changed;
    return status;
}

/// What is known of a file that is open, in the name of who has it open.
struct stat status_of(RemoteFile& file) {
    const auto name = file.path();
    if (const auto known = shared->cache.find(file.user(), name); known && known->inode() == file.opened().inode())
        return status_of(name, *known);
    if (const auto known = shared->cache.find(file.user(), file.key())) return status_of(name, *known);
    const auto now = AttributeCache::Clock::now();
    const auto found = file.attributes();
    shared->cache.put(file.user(), file.key(), found, now);
    return status_of(name, found);
}

/// An open file was changed.
void changed(RemoteFile& file) {
    shared->cache.forget(file.path());
    shared->cache.forget(file.key());
}

/// What the kernel is told of a name. It is to keep nothing of it: see attributes.h.
fuse_entry_param entry(fuse_req_t request, const std::string& path) {
    const auto found = tree(request).attributes(path);
    fuse_entry_param result{};
    result.ino = shared->inodes.told(path, found);
    result.attr = status_of(path, found);
    return result;
}

/// Does `work`, which replies; or replies what went wrong.
template <typename Work>
void answer(fuse_req_t request, const Work& work) {
    try {
        work();
    } catch (const Failure& failure) {
        fuse_reply_err(request, failure.number == NO_NUMBER ? EIO : failure.number);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        fuse_reply_err(request, EIO);
    }
}

/// Does `work` and tells the kernel what is at `path` then.
template <typename Work>
void answer_entry(fuse_req_t request, fuse_ino_t folder, const char* name, const Work& work) {
    answer(request, [&] {
        const auto made = path(folder, name);
        work(made);
        const auto found = entry(request, made);
        if (fuse_reply_entry(request, &found) == -ENOENT) shared->inodes.forget(found.ino, 1);
    });
}

template <typename Work>
void answer_done(fuse_req_t request, const Work& work) {
    answer(request, [&] {
        work();
        fuse_reply_err(request, 0);
    });
}

void init(void*, fuse_conn_info* connection) {
    connection->max_write = REQUEST;
    connection->max_readahead = REQUEST;
}

void lookup(fuse_req_t request, fuse_ino_t folder, const char* name) {
    answer_entry(request, folder, name, [](const std::string&) {});
}

void forget(fuse_req_t request, fuse_ino_t inode, uint64_t times) {
    shared->inodes.forget(inode, times);
    fuse_reply_none(request);
}

void forget_many(fuse_req_t request, std::size_t count, fuse_forget_data* all) {
    for (std::size_t at = 0; at < count; ++at) shared->inodes.forget(all[at].ino, all[at].nlookup);
    fuse_reply_none(request);
}

struct stat status(fuse_req_t request, fuse_ino_t inode, const fuse_file_info* info) {
    if (info != nullptr) return status_of(*shared->inodes.opened(info->fh));
    try {
        const auto name = path(inode);
        return status_of(name, tree(request).attributes(name));
    } catch (const Failure& failure) {
        // A file without a name can only be asked for by who has it open.
        const auto file = failure.number == ESTALE ? shared->inodes.any(inode) : nullptr;
        if (!file) throw;
        return status_of(*file);
    }
}

void get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
    answer(request, [&] {
        const auto found = status(request, inode, info);
        fuse_reply_attr(request, &found, 0);
    });
}

void set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int which, fuse_file_info* info) {
    answer(request, [&] {
        if ((which & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
            // A file may be given to whom it belongs already.
            const auto now = status(request, inode, info);
            if ((which & FUSE_SET_ATTR_UID) != 0 && wanted->st_uid != now.st_uid) throw Failure{EPERM};
            if ((which & FUSE_SET_ATTR_GID) != 0 && wanted->st_gid != now.st_gid) throw Failure{EPERM};
        }
        if ((which & FUSE_SET_ATTR_MODE) != 0) tree(request).change_mode(path(inode), wanted->st_mode);
        if ((which & FUSE_SET_ATTR_SIZE) != 0) {
            const auto size = static_cast<uint64_t>(wanted->st_size);
            if (info == nullptr) {
                tree(request).truncate(path(inode), size);
            } else {
                shared->inodes.opened(info->fh)->truncate(size);
            }
        }
        if (const auto file = shared->inodes.any(inode)) changed(*file);
        // Times are accepted and not set: the protocol has no request for it.
        const auto found = status(request, inode, info);
        fuse_reply_attr(request, &found, 0);
    });
}

void read_link(fuse_req_t request, fuse_ino_t inode) {
    answer(request, [&] { fuse_reply_readlink(request, tree(request).target(path(inode)).c_str()); });
}

void make_folder(fuse_req_t request, fuse_ino_t folder, const char* name, mode_t mode) {
    answer_entry(request, folder, name, [&](const std::string& made) { tree(request).make_folder(made, mode); });
}

void make_link(fuse_req_t request, const char* target, fuse_ino_t folder, const char* name) {
    answer_entry(request, folder, name, [&](const std::string& made) { tree(request).make_link(made, target); });
}

void make_hard_link(fuse_req_t request, fuse_ino_t, fuse_ino_t, const char*) { fuse_reply_err(request, EPERM); }

void make_node(fuse_req_t request, fuse_ino_t, const char*, mode_t, dev_t) { fuse_reply_err(request, EPERM); }

void remove_file(fuse_req_t request, fuse_ino_t folder, const char* name) {
    answer_done(request, [&] { tree(request).remove_file(path(folder, name)); });
}

void remove_folder(fuse_req_t request, fuse_ino_t folder, const char* name) {
    answer_done(request, [&] { tree(request).remove_folder(path(folder, name)); });
}

void rename_name(fuse_req_t request, fuse_ino_t folder, const char* name, fuse_ino_t new_folder, const char* new_name,
                 unsigned flags) {
    answer_done(request, [&] {
        if (flags != 0) throw Failure{EINVAL};  // neither exchange nor no-replace can be done in one step
        tree(request).rename(path(folder, name), path(new_folder, new_name));
    });
}

void open_file(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
    answer(request, [&] {
        const auto name = path(inode);
        auto file = tree(request).open(name, info->flags);
        if (!shared->inodes.stands_for(inode, file->opened())) {
            // Another machine has put another file there since the kernel looked. ESTALE makes it look again.
            shared->cache.forget(name);
            throw Failure{ESTALE};
        }
        info->fh = shared->inodes.keep(inode, std::move(file));
        if (fuse_reply_open(request, info) == -ENOENT) shared->inodes.close(info->fh);
    });
}

void create_file(fuse_req_t request, fuse_ino_t folder, const char* name, mode_t mode, fuse_file_info* info) {
    answer(request, [&] {
        const auto made = path(folder, name);
        auto file = tree(request).create(made, info->flags, mode);
        const auto found = entry(request, made);
        info->fh = shared->inodes.keep(found.ino, std::move(file));
        if (fuse_reply_create(request, &found, info) != -ENOENT) return;
        shared->inodes.close(info->fh);
        shared->inodes.forget(found.ino, 1);
    });
}

void read_file(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) {
    answer(request, [&] {
        thread_local std::vector<char> buffer(REQUEST);
        size = std::min(size, buffer.size());
        const auto count = shared->inodes.opened(info->fh)->read(buffer.data(), size, static_cast<uint64_t>(offset));
        fuse_reply_buf(request, buffer.data(), count);
    });
}

void write_file(fuse_req_t request, fuse_ino_t, const char* data, std::size_t size, off_t offset,
                fuse_file_info* info) {
    answer(request, [&] {
        const auto file = shared->inodes.opened(info->fh);
        file->write(data, size, static_cast<uint64_t>(offset));
        changed(*file);
        fuse_reply_write(request, size);
    });
}

void sync_file(fuse_req_t request, fuse_ino_t, int, fuse_file_info* info) {
    answer_done(request, [&] { shared->inodes.opened(info->fh)->sync(); });
}

void close_file(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
    shared->inodes.close(info->fh);
    fuse_reply_err(request, 0);
}

Listing* listing(const fuse_file_info* info) { return reinterpret_cast<Listing*>(info->fh); }

void open_folder(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
    answer(request, [&] {
        info->fh = reinterpret_cast<uint64_t>(new Listing{path(inode), false, {}});
        if (fuse_reply_open(request, info) == -ENOENT) delete listing(info);
    });
}

void list_folder(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* info) {
    answer(request, [&] {
        auto& [name, read, entries] = *listing(info);
        if (offset == 0 || !read) {  // rewinddir reads anew
            struct stat folder {};
            folder.st_mode = S_IFDIR;
            entries = {{".", folder}, {"..", folder}};
            tree(request).list(name, [&](const std::string& entry, const Attributes& attributes) {
                entries.emplace_back(entry, status_of(name, attributes));
            });
            read = true;
        }
        std::vector<char> buffer(size);
        std::size_t used = 0;
        for (auto at = static_cast<std::size_t>(offset); at < entries.size(); ++at) {
            const auto& [entry, status] = entries[at];
            const auto needed = fuse_add_direntry(request, buffer.data() + used, size - used, entry.c_str(), &status,
                                                  static_cast<off_t>(at + 1));
            if (needed > size - used) break;
            used += needed;
        }
        fuse_reply_buf(request, buffer.data(), used);
    });
}

void close_folder(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
    delete listing(info);
    fuse_reply_err(request, 0);
}

void space(fuse_req_t request, fuse_ino_t inode) {
    answer(request, [&] {
        const auto found = tree(request).space(path(inode));
        fuse_reply_statfs(request, &found);
    });
}

/// By the owner's permissions, which are those that the server's own process has: who may come that far, its list of
/// rights says at each request.
void may_access(fuse_req_t request, fuse_ino_t inode, int wanted) {
    answer_done(request, [&] {
        const auto mode = tree(request).attributes(path(inode)).mode;
        if ((static_cast<mode_t>(wanted) & ~(mode >> 6) & 07) != 0) throw Failure{EACCES};
    });
}

fuse_lowlevel_ops operations() {
    fuse_lowlevel_ops all{};
    all.init = init;
    all.lookup = lookup;
    all.forget = forget;
    all.forget_multi = forget_many;
    all.getattr = get_attributes;
    all.setattr = set_attributes;
    all.readlink = read_link;
    all.mkdir = make_folder;
    all.unlink = remove_file;
    all.rmdir = remove_folder;
    all.symlink = make_link;
    all.rename = rename_name;
    all.link = make_hard_link;
    all.mknod = make_node;
    all.open = open_file;
    all.create = create_file;
    all.read = read_file;
    all.write = write_file;
    all.fsync = sync_file;
    all.release = close_file;
    all.opendir = open_folder;
    all.readdir = list_folder;
    all.releasedir = close_folder;
    all.statfs = space;
    all.access = may_access;
    return all;
}

}  // namespace

void serve(Shared& all, const std::string& mountpoint, void (*mounted)()) {
    const auto unusable = [&](const std::string& why) {
        return Problem("it cannot be mounted", mountpoint, why,
                       "xrdmount mounts as root, with /dev/fuse, on a folder that exists and where nothing is mounted");
    };
    shared = &all;
    const auto calls = operations();
    std::string options = "allow_other,nosuid,nodev,subtype=xrdmount,fsname=" + all.config.server + all.config.exported;
    std::string name = "xrdmount";
    std::string dash = "-o";
    char* words[] = {name.data(), dash.data(), options.data(), nullptr};
    fuse_args arguments = FUSE_ARGS_INIT(3, words);
    fuse_session* session = fuse_session_new(&arguments, &calls, sizeof(calls), nullptr);
    if (session == nullptr) throw unusable("libfuse refuses the options");
    if (fuse_session_mount(session, mountpoint.c_str()) != 0) throw unusable(std::strerror(errno));
    fuse_set_signal_handlers(session);
    mounted();
    fuse_loop_config* loop = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(loop, 1);
    fuse_loop_cfg_set_max_threads(loop, THREADS);
    fuse_loop_cfg_set_idle_threads(loop, THREADS);
    fuse_session_loop_mt(session, loop);
    fuse_session_unmount(session);
}

}  // namespace xrdmount
