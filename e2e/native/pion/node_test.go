// Package pion holds tests in which an independent implementation, Pion, publishes to a media
// node and watches it, over each way in that a node offers: UDP and TCP, IPv4 and IPv6.
package pion

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// node is a media-node process that lives as long as one test.
type node struct{ base string }

// startNode runs the node on one address with ports that were free a moment ago. SHOWRUNNER_MEDIA_NODE
// says which program; by default it is what `make build` built.
func startNode(t *testing.T, address string) node {
	t.Helper()
	program := os.Getenv("SHOWRUNNER_MEDIA_NODE")
	if program == "" {
		program = "../../../target/release/media-node"
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("no node to test (run `make build`): %v", err)
	}
	http := net.JoinHostPort(address, strconv.Itoa(freePort(t, address)))
	command := exec.Command(program,
		"--http", http, "--media-bind", address,
		"--media-port", strconv.Itoa(freePort(t, address)), "--shards", "1")
	output, err := os.Create(t.TempDir() + "/node.log")
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(15 * time.Second):
			t.Error("the node was still there 15 s after SIGTERM")
			_ = command.Process.Kill()
		}
		if t.Failed() {
			if text, err := os.ReadFile(output.Name()); err == nil {
				t.Logf("the node's log:\n%s", text)
			}
		}
		_ = output.Close()
	})

	n := node{base: "http://" + http}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if err := n.ready(); err == nil {
			return n
		} else if time.Now().After(deadline) {
			t.Fatalf("the node never got ready: %v", err)
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("the node ended before it was ready: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (n node) ready() error {
	response, err := http.Get(n.base + "/readyz")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func (n node) whip(room string) string { return fmt.Sprintf("%s/whip/%s", n.base, room) }
func (n node) whep(room string) string { return fmt.Sprintf("%s/whep/%s", n.base, room) }

func freePort(t *testing.T, address string) int {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("this machine has no address %s: %v", address, err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
