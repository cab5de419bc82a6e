package postrender

import (
	"encoding/json"
	"fmt"

	"github.com/headwater-dev/headwater/agent/build"
)

// maxSteps bounds what kustomize does: it holds each object against all others, in
// about a microsecond each, and nothing but the end of the action ends it.
const maxSteps = 50_000_000

// count refuses more objects than kustomize gets done. It parses each patch for each
// object.
func (r *Renderer) count(objects int) error {
	texts := 0
	for i, step := range r.steps {
		text, err := json.Marshal(step)
		if err != nil {
			return fmt.Errorf("spec.postRenderers[%d]: %w", i, err)
		}
		texts += len(text)
	}
	if objects*(objects*len(r.steps)+texts/build.TextsInStep) > maxSteps {
		return fmt.Errorf("spec.postRenderers: %d objects with %d post-renderers of %d bytes are more than kustomize gets done: make several releases of them",
			objects, len(r.steps), texts)
	}
	return nil
}
