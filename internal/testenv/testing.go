package testenv

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// ForTest starts a control plane that is stopped when the test ends.
func ForTest(t testing.TB, options Options) *ControlPlane {
	t.Helper()
	c, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// Assets makes a directory that controller-runtime's envtest accepts as its
// BinaryAssetsDirectory, or KUBEBUILDER_ASSETS.
func Assets(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := linkAssets(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Shared is a control plane that the tests of one package share: it starts
// when the first test asks for it and stops after the last.
//
//	var shared = testenv.Shared{CRDs: true}
//
//	func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
//
// Tests that share it keep apart by namespaces.
type Shared struct {
	Options Options
	// CRDs has the project's own CustomResourceDefinitions installed.
	CRDs bool

	once sync.Once
	c    *ControlPlane
	err  error
}

// ControlPlane returns the shared control plane.
func (s *Shared) ControlPlane(t testing.TB) *ControlPlane {
	t.Helper()
	s.once.Do(func() { s.err = s.start(t.Context()) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.c
}

func (s *Shared) start(ctx context.Context) (err error) {
	if s.c, err = Start(ctx, s.Options); err != nil || !s.CRDs {
		return err
	}
	root, err := repositoryRoot()
	if err != nil {
		return fmt.Errorf("looking for the CRDs: %w", err)
	}
	_, err = envtest.InstallCRDs(s.c.Config(), envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(root, "config", "crd", "bases")}, ErrorIfPathMissing: true,
	})
	if err != nil {
		return fmt.Errorf("installing the CRDs: %w", err)
	}
	return nil
}

// patience is how long tests wait for what they expect, where they do not say: what
// takes a moment takes longer on a busy machine.
const patience = time.Minute

// Run runs the tests, stops the control plane, and returns the exit code. Gomega's
// Eventually waits a minute by default.
func (s *Shared) Run(m *testing.M) int {
	gomega.SetDefaultEventuallyTimeout(patience)
	defer func() {
		if s.c != nil {
			s.c.Stop()
		}
	}()
	return m.Run()
}
