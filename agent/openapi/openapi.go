package openapi

import (
	"sync"

	"sigs.k8s.io/kustomize/kyaml/openapi"
)

var (
	// schema guards what kustomize keeps in variables of the process, so it is
	// one of the process as well.
	schema sync.RWMutex
	// load parses kustomize's own schema, the first time.
	load sync.Once
)

// Shared runs a build that only reads the schema, beside others.
func Shared(build func()) {
	schema.RLock()
	defer schema.RUnlock()
	load.Do(func() { openapi.Schema() })
	build()
}

// Alone runs a build that brings a schema of its own while no other runs, and
// leaves no trace of it: the next build, maybe somebody else's, must not see it.
func Alone(build func()) {
	schema.Lock()
	defer schema.Unlock()
	defer func() {
		openapi.ResetOpenAPI()
		openapi.Schema()
	}()
	build()
}
