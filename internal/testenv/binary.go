package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// binaryVariable overrides where the control plane's binary is.
const binaryVariable = "HEADWATER_CONTROLPLANE"

// The parts of the control plane's binary.
const (
	etcdPart              = "etcd"
	apiServerPart         = "kube-apiserver"
	controllerManagerPart = "kube-controller-manager"
)

// findBinary returns the path of the control plane's multi-call binary.
func findBinary() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s names no control plane binary: %w", binaryVariable, err)
		}
		return path, nil
	}
	root, err := repositoryRoot()
	if err != nil {
		return "", fmt.Errorf("looking for bin/controlplane: %w; set %s to its path", err, binaryVariable)
	}
	path := filepath.Join(root, "bin", "controlplane")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s does not exist: run make controlplane, or set %s to its path", path, binaryVariable)
	} else if err != nil {
		return "", fmt.Errorf("looking for bin/controlplane: %w", err)
	}
	return path, nil
}

// repositoryRoot is the nearest directory above the working directory (where
// `go test` and make run things) that has the control plane's module in it.
func repositoryRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := start; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "e2e", "controlplane", "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside the repository", start)
		}
	}
}

// linkAssets fills a directory with links of the names by which
// controller-runtime's envtest looks for the parts (KUBEBUILDER_ASSETS).
func linkAssets(dir string) error {
	binary, err := findBinary()
	if err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return fmt.Errorf("linking %s: %w", binary, err)
	}
	for _, part := range []string{etcdPart, apiServerPart} {
		if err := os.Symlink(binary, filepath.Join(dir, part)); err != nil {
			return fmt.Errorf("linking %s: %w", part, err)
		}
	}
	return nil
}
