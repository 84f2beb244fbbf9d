// The guest's agent, process 1: runs the scripts that the host sends over a virtio-serial port, one at a time.
//
// Host to guest:  "RUN <id> <bytes>\n" and a bash script of so many bytes, "KILL <id>\n", "POWEROFF\n".
// Guest to host:  "HELLO <kernel release>\n" once after boot, then for each script any number of
//                 "OUT <id> <bytes>\n" with a piece of stdout and stderr, and at last "EXIT <id> <code>\n"
//                 (128 + signal number if a signal ended it, as the shell has it).
//
// An error here ends process 1 and so panics the guest: the host sees that, with the message, on the console.

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr const char* kPortName = "ovfsd.agent";
constexpr const char* kScriptPath = "/run/agent-script";
// The port appears a moment after its module is loaded; a guest under emulation needs well below this.
constexpr int kPortWaitMs = 20000;
constexpr int kPortPollMs = 5;
// How long to rest while the host end is closed: poll reports that at once, again and again.
constexpr int kHostGoneMs = 50;
constexpr size_t kPieceBytes = 64 * 1024;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "agent: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

void WriteAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = write(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR && errno != EAGAIN) Fail("write to the host");
    if (count > 0) done += static_cast<size_t>(count);
  }
}

// Finds the port by its name: its device's number depends on what else QEMU was given.
std::string FindPort() {
  const std::string base = "/sys/class/virtio-ports";
  std::string found;
  DIR* dir = opendir(base.c_str());
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    std::ifstream file(base + "/" + entry->d_name + "/name");
    std::string name;
    if (std::getline(file, name) && name == kPortName) found = std::string("/dev/") + entry->d_name;
  }
  closedir(dir);
  return found;
}

int OpenPort() {
  for (int waited = 0; waited < kPortWaitMs; waited += kPortPollMs) {
    const std::string path = FindPort();
    if (!path.empty()) {
      const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      if (fd >= 0) return fd;
    }
    usleep(kPortPollMs * 1000);
  }
  Fail("no virtio-serial port of the agent's name");
}

// The script that runs now. Its whole session can be killed by the process id, which setsid made the group's id.
struct Job {
  std::string id;
  pid_t pid = -1;
  int output = -1;
};

class Agent {
 public:
  explicit Agent(int port) : port_(port) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, nullptr);
    // It does nothing, but without a handler the signal would be ignored and not wake ppoll.
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGCHLD, &action, nullptr);
  }

  [[noreturn]] void Run() {
    utsname names{};
    uname(&names);
    WriteAll(port_, std::string("HELLO ") + names.release + "\n");
    for (;;) Turn();
  }

 private:
  // SIGCHLD is blocked except while ppoll waits, so an end between two looks is not missed.
  void Turn() {
    sigset_t empty;
    sigemptyset(&empty);
    pollfd fds[2] = {{port_, POLLIN, 0}, {job_.output, POLLIN, 0}};
    if (ppoll(fds, 2, nullptr, &empty) < 0 && errno != EINTR) Fail("ppoll");
    if (fds[1].revents != 0) ForwardOutput();
    Reap();
    if ((fds[0].revents & POLLIN) != 0) {
      ReadPort();
    } else if ((fds[0].revents & POLLHUP) != 0) {
      usleep(kHostGoneMs * 1000);
    }
  }

  void ReadPort() {
    std::vector<char> buffer(kPieceBytes);
    const ssize_t count = read(port_, buffer.data(), buffer.size());
    if (count < 0 && errno != EINTR && errno != EAGAIN) Fail("read from the host");
    if (count > 0) input_.append(buffer.data(), static_cast<size_t>(count));
    while (HandleMessage()) {
    }
  }

  // Handles one whole message at the front of input_; false when there is none.
  bool HandleMessage() {
    const size_t end = input_.find('\n');
    if (end == std::string::npos) return false;
    const std::string line = input_.substr(0, end);
    char id[32] = {};
    size_t size = 0;
    if (std::sscanf(line.c_str(), "RUN %31s %zu", id, &size) == 2) {
      if (input_.size() < end + 1 + size) return false;
      Start(id, input_.substr(end + 1, size));
      input_.erase(0, end + 1 + size);
      return true;
    }
    if (std::sscanf(line.c_str(), "KILL %31s", id) == 1) {
      if (job_.id == id) Kill();
    } else if (line == "POWEROFF") {
      sync();
      reboot(RB_POWER_OFF);
    } else {
      errno = EPROTO;
      Fail("message from the host");
    }
    input_.erase(0, end + 1);
    return true;
  }

  void Start(const char* id, const std::string& script) {
    if (job_.pid >= 0) {
      errno = EBUSY;
      Fail("a second script while one runs");
    }
    std::ofstream(kScriptPath, std::ios::binary | std::ios::trunc) << script;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) Fail("pipe");
    const pid_t pid = fork();
    if (pid < 0) Fail("fork");
    if (pid == 0) Become(ends[1]);
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    job_ = Job{id, pid, ends[0]};
  }

  [[noreturn]] static void Become(int output) {
    setsid();
    sigset_t empty;
    sigemptyset(&empty);
    sigprocmask(SIG_SETMASK, &empty, nullptr);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(output, 1);
    dup2(output, 2);
    setenv("PATH", "/usr/sbin:/usr/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("LC_ALL", "C", 1);
    execl("/usr/bin/bash", "bash", "-eu", "-o", "pipefail", kScriptPath, nullptr);
    _exit(127);
  }

  // What waits in the kernel is shown on the console first: a script that is killed is mostly one that hangs.
  void Kill() {
    const int trigger = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (trigger >= 0) {
      if (write(trigger, "w", 1) != 1) std::perror("agent: sysrq");
      close(trigger);
    }
    kill(-job_.pid, SIGKILL);
  }

  void ForwardOutput() {
    std::vector<char> buffer(kPieceBytes);
    for (;;) {
      const ssize_t count = read(job_.output, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) {
        // Every writer is gone; the script's end comes by SIGCHLD.
        close(job_.output);
        job_.output = -1;
        return;
      }
      WriteAll(port_, "OUT " + job_.id + " " + std::to_string(count) + "\n" + std::string(buffer.data(), static_cast<size_t>(count)));
    }
  }

  // Process 1 inherits every orphan, so it waits for all and looks out for the script's own shell.
  void Reap() {
    int status = 0;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
      if (pid != job_.pid) continue;
      // A process that the script left behind may hold the pipe still: take what is there, do not wait for it.
      if (job_.output >= 0) ForwardOutput();
      if (job_.output >= 0) close(job_.output);
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      const std::string id = job_.id;
      job_ = Job{};
      WriteAll(port_, "EXIT " + id + " " + std::to_string(code) + "\n");
    }
  }

  int port_;
  std::string input_;
  Job job_;
};

}  // namespace

int main() { Agent(OpenPort()).Run(); }
