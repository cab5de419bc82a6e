package remote

import (
	"net/http"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"

	"github.com/headwater-dev/headwater/agent/remote/view"
)

// View returns the connection's view of that name, made by the options when
// there is none yet. It reads with the kubeconfig's own rights, is shared by all
// work for the key and ends with the connection. It is nil, and knows nothing,
// when it cannot be made.
func (t *Target) View(name string, options view.Options) *view.View {
	s := t.session
	options.Streams = streams(*s.version.Load())
	return s.views.Get(name, s.config, &http.Client{Transport: s.config.Transport}, s.mapper, options)
}

// streaming is the first version of Kubernetes whose watches begin with what is
// there unless somebody has switched that off (KEP-3157).
var streaming = version.MustParseGeneric("1.34")

func streams(serverVersion string) bool {
	parsed, err := version.ParseGeneric(serverVersion)
	return err == nil && parsed.AtLeast(streaming)
}

// Identity names the cluster that the connection leads to and its version:
// what was found out about objects holds for as long as it stays the same.
func (t *Target) Identity() string {
	return t.session.config.Host + " " + t.session.uid + " " + *t.session.version.Load()
}

// Shared is the configuration of the connection itself, for what all work for the
// key shares: it acts with the kubeconfig's own rights, whoever this unit of work
// impersonates.
func (t *Target) Shared() *rest.Config { return rest.CopyConfig(t.session.config) }
