// How the control plane says no.
#pragma once

#include <stdexcept>
#include <string>

namespace ovfsd {

/// A request of the front-end that is not carried out. Thrown only while vhost-user messages are handled, never for
/// what a guest puts into its rings: that path reports by value and allocates nothing.
class Refusal : public std::runtime_error {
 public:
  enum class Severity {
    kMessage,     ///< this message is refused, the connection goes on
    kConnection,  ///< the conversation is out of step or the front-end would wait for ever: close the connection
  };

  explicit Refusal(const std::string& reason, Severity severity = Severity::kMessage)
      : std::runtime_error(reason), severity_(severity) {}

  Severity severity() const noexcept { return severity_; }

 private:
  Severity severity_;
};

}  // namespace ovfsd
