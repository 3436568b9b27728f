// The mount: answers the kernel, each request in the name of the uid that makes it.
#pragma once

#include <string>

#include "tree.h"

namespace xrdmount {

/// Mounts on `mountpoint`, calls `mounted`, and serves until a signal or an unmount ends it. Throws Problem.
void serve(Shared& shared, const std::string& mountpoint, void (*mounted)());

}  // namespace xrdmount
