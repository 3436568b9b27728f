// What goes wrong, in the two forms that it is told: to a program, and to a person.
#pragma once

#include <stdexcept>
#include <string>

namespace xrdmount {

/// An operation on a file that failed; `number` is the errno that the program gets. When it was `repeated`, the answer
/// to an earlier try was lost, and that one may have been carried out.
struct Failure {
    int number;
    bool repeated = false;
};

/// Why xrdmount cannot start, or what is wrong with its files: what, where, why and what cures it.
class Problem : public std::runtime_error {
  public:
    Problem(const std::string& what, const std::string& where, const std::string& why, const std::string& cure)
        : std::runtime_error(what + "\n  where: " + where + "\n  why:   " + why + "\n  cure:  " + cure) {}
};

}  // namespace xrdmount
