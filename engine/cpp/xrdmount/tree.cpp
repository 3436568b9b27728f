#include "tree.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "failure.h"
#include "symlink.h"

namespace xrdmount {

namespace {

constexpr unsigned long BLOCK = 4096;
// The server lists one byte less than its file system has.
constexpr std::size_t LONGEST_NAME = 254;

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

/// The value of a key in an answer such as "oss.space=10&oss.free=5".
uint64_t value(const std::string& answer, const std::string& key) {
    const auto at = ("&" + answer).find("&" + key + "=");
    return at == std::string::npos ? 0 : std::strtoull(answer.c_str() + at + key.size() + 1, nullptr, 10);
}

}  // namespace

Tree::Tree(Shared& shared, uid_t uid)
    : shared_(shared), user_(shared.users.of(uid)), connection_(shared.server.as(user_.name)) {}

/// The path as the server is asked for it. The server's access list knows prefixes of text: "/eos/user/a/ada/" is
/// ada's, and without the slash it would be adam's too. So the top of a home is asked for with a slash.
std::string Tree::asked(const std::string& path) const {
    if (path.find_first_of("?\n") != std::string::npos) throw Failure{EINVAL};
    if (path.size() - path.rfind('/') - 1 > LONGEST_NAME) throw Failure{ENAMETOOLONG};
    const auto owner = shared_.users.owner(path);
    return owner && owner->home == path ? path + "/" : path;
}

void Tree::persist(const Connection::Request& request) { connection_->persist(request); }

/// Forgets what is known of a path that was changed, and of its folder.
void Tree::changed(const std::string& path) {
    shared_.cache.forget(path);
    shared_.cache.forget(folder_of(path));
}

Attributes Tree::attributes(const std::string& path) {
    if (const auto known = shared_.cache.find(user_.name, path)) return *known;
    const auto now = AttributeCache::Clock::now();
    const auto name = asked(path);
    std::unique_ptr<XrdCl::StatInfo> info;
    persist([&](uint16_t seconds) {
        XrdCl::StatInfo* answer = nullptr;
        const auto status = connection_->files().Stat(name, answer, seconds);
        info.reset(answer);
        return status;
    });
    auto result = Attributes::of(*info);
    resolve(path, result);
    shared_.cache.put(user_.name, path, result, now);
    return result;
}

/// Makes a link of a file that is one. It is read only when it was not before.
void Tree::resolve(const std::string& path, Attributes& attributes) {
    if (!S_ISREG(attributes.mode) || attributes.size != symlink::FILE_SIZE) return;
    const auto known = shared_.cache.last(user_.name, path);
    std::optional<std::string> target;
    if (known && S_ISLNK(known->mode) && known->id == attributes.id && known->modified == attributes.modified) {
        target = known->target;
    } else {
        try {
            target = symlink::decode(content(path, symlink::FILE_SIZE));
        } catch (const Failure& failure) {
            if (failure.number == EIO) throw;  // else it is not to be read, or gone: no link, then
        }
    }
    if (!target) return;
    attributes.mode = S_IFLNK | 0777;
    attributes.size = target->size();
    attributes.target = *target;
}

std::string Tree::content(const std::string& path, std::size_t most) {
    RemoteFile file(connection_, asked(path), false, RemoteFile::Create::no, 0);
    std::string result(most, '\0');
    result.resize(file.read(result.data(), most, 0));
    return result;
}

void Tree::list(const std::string& path, const Listed& listed) {
    auto now = AttributeCache::Clock::now();
    const auto name = asked(path);
    std::unique_ptr<XrdCl::DirectoryList> entries;
    persist([&](uint16_t seconds) {
        XrdCl::DirectoryList* answer = nullptr;
        const auto status = connection_->files().DirList(name, XrdCl::DirListFlags::Stat, answer, seconds);
        entries.reset(answer);
        return status;
    });
    // Who has a long listing takes a while to walk through it: so `ls -l` of ten thousand files stays one request.
    now += std::chrono::milliseconds(1) * entries->GetSize();
    for (auto at = entries->Begin(); at != entries->End(); ++at) {
        const auto* entry = *at;
        if (entry->GetStatInfo() == nullptr) continue;  // it went while it was listed
        const auto below = path + "/" + entry->GetName();
        auto found = Attributes::of(*entry->GetStatInfo());
        resolve(below, found);
        // Whoever may list the homes is shown that they are there. Whether he may look at one, the server is to say.
        if (const auto owner = shared_.users.owner(below); !owner || owner->home != below)
            shared_.cache.put(user_.name, below, found, now);
        listed(entry->GetName(), found);
    }
}

std::string Tree::target(const std::string& link) {
    const auto found = attributes(link);
    if (!S_ISLNK(found.mode)) throw Failure{EINVAL};
    return found.target;
}

/// A home's space is its quota, when the server tells it; else it is that of the server's disk.
struct statvfs Tree::space(const std::string& path) {
    uint64_t limit = 0;
    uint64_t used = 0;
    if (const auto owner = shared_.users.owner(path); owner && !owner->quota.empty()) {
        try {
            std::istringstream(content(owner->quota, 64)) >> limit >> used;
        } catch (const Failure& failure) {
            if (failure.number != ENOENT && failure.number != EACCES) throw;
        }
    }
    if (limit == 0) {
        XrdCl::Buffer question;
        question.FromString(asked(path));
        std::unique_ptr<XrdCl::Buffer> answer;
        persist([&](uint16_t seconds) {
            XrdCl::Buffer* buffer = nullptr;
            const auto status = connection_->files().Query(XrdCl::QueryCode::Space, question, buffer, seconds);
            answer.reset(buffer);
            return status;
        });
        limit = value(answer->ToString(), "oss.space");
        used = limit - std::min(limit, value(answer->ToString(), "oss.free"));
    }
    struct statvfs result {};
    result.f_bsize = result.f_frsize = BLOCK;
    result.f_blocks = limit / BLOCK;
    result.f_bfree = result.f_bavail = (limit - std::min(limit, used)) / BLOCK;
    result.f_namemax = LONGEST_NAME;
    return result;
}

std::unique_ptr<RemoteFile> Tree::open(const std::string& path, int flags) {
    const auto now = AttributeCache::Clock::now();
    const bool writable = (flags & O_ACCMODE) != O_RDONLY;
    auto file = std::make_unique<RemoteFile>(connection_, asked(path), writable, RemoteFile::Create::no, 0);
    const auto known = shared_.cache.find(user_.name, path);
    if ((flags & O_APPEND) != 0 && known && known->size != file->opened().size) {
        // The kernel appends where it was told that the file ends, and another machine has made it longer since. ESTALE
        // makes the kernel look again.
        shared_.cache.forget(path);
        throw Failure{ESTALE};
    }
    if ((flags & O_TRUNC) != 0) {
        file->truncate(0);
        changed(path);
        shared_.cache.forget(file->key());
    } else {
        shared_.cache.put(user_.name, path, file->opened(), now);
    }
    return file;
}

std::unique_ptr<RemoteFile> Tree::create(const std::string& path, int flags, mode_t mode) {
    std::unique_ptr<RemoteFile> file;
    try {
        file = std::make_unique<RemoteFile>(connection_, asked(path), true, RemoteFile::Create::exclusively, mode);
    } catch (const Failure& failure) {
        if (failure.number != EEXIST || (flags & O_EXCL) != 0) throw;
        shared_.cache.forget(path);
        return open(path, flags);
    }
    changed(path);
    // The server lets the owner of a new file always read and write it.
    if ((mode & 0600) != 0600) change_mode(path, mode);
    else shared_.cache.put(user_.name, path, file->opened(), AttributeCache::Clock::now());
    return file;
}

void Tree::make_folder(const std::string& path, mode_t mode) {
    const auto name = asked(path);
    try {
        persist([&](uint16_t seconds) {
            return connection_->files().MkDir(name, XrdCl::MkDirFlags::None, access_mode(mode), seconds);
        });
    } catch (const Failure& failure) {
        if (!failure.repeated || failure.number != EEXIST) throw;
    }
    changed(path);
}

void Tree::make_link(const std::string& path, const std::string& target) {
    const auto text = symlink::encode(target);
    RemoteFile file(connection_, asked(path), true, RemoteFile::Create::exclusively, 0644);
    try {
        file.write(text.data(), text.size(), 0);
    } catch (const Failure&) {
        remove_file(path);
        throw;
    }
    changed(path);
}

void Tree::remove_file(const std::string& path) {
    const auto name = asked(path);
    try {
        persist([&](uint16_t seconds) { return connection_->files().Rm(name, seconds); });
    } catch (const Failure& failure) {
        if (!failure.repeated || failure.number != ENOENT) throw;
    }
    shared_.inodes.unlinked(path);
    changed(path);
}

void Tree::remove_folder(const std::string& path) {
    const auto name = asked(path);
    try {
        persist([&](uint16_t seconds) { return connection_->files().RmDir(name, seconds); });
    } catch (const Failure& failure) {
        if (failure.number == NO_NUMBER || failure.number == EEXIST) throw Failure{ENOTEMPTY};
        if (!failure.repeated || failure.number != ENOENT) throw;
    }
    changed(path);
}

void Tree::rename(const std::string& from, const std::string& to) {
    const auto old_name = asked(from);
    const auto new_name = asked(to);
    const bool folder = S_ISDIR(attributes(from).mode);
    try {
        persist([&](uint16_t seconds) { return connection_->files().Mv(old_name, new_name, seconds); });
    } catch (const Failure& failure) {
        if (folder && (failure.number == NO_NUMBER || failure.number == EEXIST)) throw Failure{ENOTEMPTY};
        if (!failure.repeated || failure.number != ENOENT) throw;
    }
    // The server gives who opens `to` what others still have open under that name: the file that was there before.
    // Giving a file its own name changes nothing, but makes the server forget what it had open.
    if (!folder) {
        try {
            persist([&](uint16_t seconds) { return connection_->files().Mv(new_name, new_name, seconds); });
        } catch (const Failure& failure) {
            if (failure.number != ENOENT) throw;
        }
    }
    shared_.inodes.renamed(from, to);
    if (folder) {
        shared_.cache.forget_tree(from);
        shared_.cache.forget_tree(to);
    }
    changed(from);
    changed(to);
}

void Tree::change_mode(const std::string& path, mode_t mode) {
    const auto name = asked(path);
    persist([&](uint16_t seconds) { return connection_->files().ChMod(name, access_mode(mode), seconds); });
    changed(path);
}

void Tree::truncate(const std::string& path, uint64_t size) {
    const auto name = asked(path);
    persist([&](uint16_t seconds) { return connection_->files().Truncate(name, size, seconds); });
    changed(path);
}

}  // namespace xrdmount
