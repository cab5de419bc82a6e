package render

import (
	"os"
	"testing"

	"github.com/headwater-dev/headwater/agent/build"
)

// builder runs kustomize for all tests.
var builder = build.New(2, 384<<20)

// TestMain is also the process that runs kustomize.
func TestMain(m *testing.M) {
	build.ServeIfCalled()
	os.Exit(m.Run())
}
