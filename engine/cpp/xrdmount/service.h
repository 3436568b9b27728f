// What a service needs of the system: a place to mount on, and somebody to tell how it is.
#pragma once

#include <string>

namespace xrdmount::service {

/// Tells systemd lines such as "READY=1" (Type=notify). Without systemd nothing is told; a failure is no reason to
/// stop.
void notify(const std::string& lines);

/// The mount point as the kernel names it, clean of what a killed xrdmount left there. Throws Problem.
std::string free_mountpoint(const std::string& place);

}  // namespace xrdmount::service
