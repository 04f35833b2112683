package pion

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// ipv6 is the address that a test has in a network namespace of its own: Pion gathers no
// candidate on ::1.
const ipv6 = "fd99::1"

const inNamespace = "SHOWRUNNER_TEST_NAMESPACE"

// needsIPv6 runs the calling test once more, in a network namespace that has only a loopback
// interface with the address above. It returns true there, and false to the first run, which has
// nothing left to do.
func needsIPv6(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may make a network namespace")
	}
	name := fmt.Sprintf("sr-pion-%d", os.Getpid())
	ip := func(arguments ...string) {
		t.Helper()
		if output, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", arguments, err, output)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "delete", name) })
	ip("-n", name, "link", "set", "lo", "up")
	ip("-n", name, "address", "add", ipv6+"/128", "dev", "lo", "nodad")
	again := exec.Command("ip", "netns", "exec", name, os.Args[0],
		"-test.v", "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$")
	again.Env = append(os.Environ(), inNamespace+"="+name)
	if output, err := again.CombinedOutput(); err != nil {
		t.Errorf("in its namespace: %v\n%s", err, output)
	}
	return false
}
