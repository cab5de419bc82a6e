package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Service is a server that is not ours, on a loopback port: what a part of the
// world is in tests. e2e/services.sh puts their programs into bin/.
type Service struct {
	// Addr is where it listens: host:port.
	Addr string
}

// startService starts a program of bin/ and returns when it listens, where the
// pattern's group finds the address in its log. It ends with the test.
func startService(t testing.TB, command Command, listens *regexp.Regexp) *Service {
	t.Helper()
	command.Log = filepath.Join(t.TempDir(), "log")
	process, err := StartProcess(command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	s := &Service{}
	if err := await(t.Context(), process, func(ctx context.Context) error {
		content, err := os.ReadFile(command.Log)
		if err != nil {
			return err
		}
		match := listens.FindSubmatch(content)
		if match == nil {
			return errors.New("it does not say where it listens")
		}
		s.Addr = string(match[1])
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// serviceFile is a file below bin/.
func serviceFile(t testing.TB, path ...string) string {
	t.Helper()
	root, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(append([]string{root, "bin"}, path...)...)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%v: run make services", err)
	}
	return file
}

// StartDockerRegistry starts Distribution's registry, empty, over plain HTTP. Each
// line of htpasswd, which may be empty, is who may log in, with a bcrypt hash.
func StartDockerRegistry(t testing.TB, htpasswd string) *Service {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: \"127.0.0.1:0\"}\n", dir)
	if htpasswd != "" {
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", filepath.Join(dir, "htpasswd"))
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(htpasswd), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return startService(t, Command{
		Path: serviceFile(t, "docker-registry"), Args: []string{"serve", filepath.Join(dir, "config.yml")},
		Env: append(os.Environ(), "OTEL_TRACES_EXPORTER=none"),
	}, regexp.MustCompile(`listening on ([0-9.:]+)`))
}

// StartAzurite starts an emulator of Azure's blobs with one account, whose key is
// in base64. The account is the first element of the path.
func StartAzurite(t testing.TB, account, key string) *Service {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: run make services", err)
	}
	return startService(t, Command{
		Name: "azurite", Path: node,
		Args: []string{
			serviceFile(t, "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js"),
			"--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent",
		},
		Env: append(os.Environ(), "AZURITE_ACCOUNTS="+account+":"+key),
	}, regexp.MustCompile(`successfully listens on http://([0-9.:]+)`))
}

// StartGoogleStorage starts an emulator of Google Cloud Storage. It takes any
// login.
func StartGoogleStorage(t testing.TB) *Service {
	t.Helper()
	port, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	address := port.address()
	if err := port.release(); err != nil {
		t.Fatal(err)
	}
	host, number, _ := net.SplitHostPort(address)
	return startService(t, Command{
		Path: serviceFile(t, "fake-gcs-server"),
		Args: []string{"-backend", "memory", "-scheme", "http", "-host", host, "-port", number},
	}, regexp.MustCompile(`server started at http://([0-9.:]+)`))
}
