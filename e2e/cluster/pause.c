/* Holds namespaces open and reaps what dies in them: the first process of the cluster, and of each
   of its pods. Ends at a SIGTERM, and all in its PID namespace with it. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static void reap(int signal) {
  (void)signal;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

int main(void) {
  sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, 0);
  sigaction(SIGINT, &(struct sigaction){.sa_handler = end}, 0);
  sigaction(SIGCHLD, &(struct sigaction){.sa_handler = reap, .sa_flags = SA_NOCLDSTOP}, 0);
  for (;;)
    pause();
}
