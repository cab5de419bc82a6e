package action

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	helmaction "helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/storage"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// FieldManager owns what is released; it is Flux's, so that a fleet can
	// move between the two.
	FieldManager = "helm-controller"
	// keptLines of Helm's log are told with a failure.
	keptLines = 10
)

// The manager's name is a variable of the library, and the same for all.
func init() { kube.ManagedFieldsManager = FieldManager }

// ErrInterrupted says that an action was ended before it was done: it has not
// failed, and nobody knows what came of it.
var ErrInterrupted = errors.New("the action was interrupted")

// Access is the way to a cluster.
type Access struct {
	// Config and Mapper are the target's.
	Config *rest.Config
	Mapper apimeta.RESTMapper
	// Discovery is shared by the actions on one server.
	Discovery *Discovery
	// Hold says, by an error, that no write may be sent any more.
	Hold func(context.Context) error
	// Yield gives the action's place among those at work up while a part of it
	// waits, and the function that it returns takes one again.
	Yield func() (resume func())
}

// Order is what is to be released. It is read only.
type Order struct {
	// Object is the HelmRelease, whose spec has the options of the actions.
	Object *helmv2.HelmRelease
	Target release.Target
	// Chart reads the chart: each action has one of its own, since Helm changes
	// it.
	Chart  func() (*chart.Chart, error)
	Values map[string]any
	// Render changes what the chart has rendered: the objects, and hooks where
	// the spec has them changed as well.
	Render Renderer
	// Rules tell the health of kinds that have rules of their own.
	Rules func(schema.GroupKind) apply.Rule
	// Fresh says that the storage had nothing of the release a moment ago: it is
	// not read once more.
	Fresh bool
	// EnableDNS lets templates look names up.
	EnableDNS bool
}

// Renderer changes a stream of rendered manifests.
type Renderer interface {
	// Objects is run on all manifests but hooks.
	Objects(context.Context, *bytes.Buffer) (*bytes.Buffer, error)
	// Hook is run on the manifest of one hook.
	Hook(context.Context, string) (string, error)
	// Label puts the marks of the HelmRelease on an object that is made past the
	// chart's templates.
	Label(client.Object)
}

// Session is one action's way to the release. It is used once.
type Session struct {
	Order
	access Access
	ctx    context.Context
	config *helmaction.Configuration
	client client.Client
	kube   *kubeClient
	stored *records
	log    tail
	// timeout is how long each of the action's operations may take.
	timeout time.Duration
}

// Open prepares an action. It asks the cluster nothing.
func Open(ctx context.Context, access Access, order Order) (*Session, error) {
	ctx, end := context.WithCancelCause(ctx)
	s := &Session{Order: order, access: access, ctx: ctx}
	access.Config = bind(ctx, access, end)
	by := &getter{config: access.Config, discovery: access.Discovery, mapper: access.Mapper, namespace: order.Target.Namespace}
	http, err := rest.HTTPClientFor(access.Config)
	if err != nil {
		return nil, fmt.Errorf("client of the target: %w", err)
	}
	if s.client, err = client.New(access.Config, client.Options{HTTPClient: http, Mapper: access.Mapper}); err != nil {
		return nil, fmt.Errorf("client of the target: %w", err)
	}
	s.kube, s.stored = newKubeClient(s, by), newRecords(s)
	s.config = &helmaction.Configuration{
		RESTClientGetter: by,
		KubeClient:       s.kube,
		Releases:         storage.Init(s.stored),
		Log:              s.log.printf,
	}
	s.config.Releases.Log = s.log.printf
	s.config.Releases.MaxHistory = maxHistory(order.Object)
	return s, nil
}

// learn reads what charts may know of the server. Where it does not say, Helm asks
// by itself.
func (s *Session) learn() (err error) {
	s.config.Capabilities, err = s.access.Discovery.capabilities.now(s.ctx)
	return err
}

// ended prefers the reason why an action was ended over what Helm made of that, and
// counts what Helm only logs: that the outcome is in no record. Helm is never given
// the context: it would return while its work goes on.
func (s *Session) ended(err error) error {
	unwritten := s.stored.unwritten()
	err = cmp.Or(err, unwritten)
	switch {
	case err == nil:
		return nil
	case s.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(s.ctx))
	case unwritten != nil && !answered(unwritten):
		return fmt.Errorf("%w: %w", ErrInterrupted, unwritten)
	}
	return err
}

// Begun is the revision that the action has made a record of, or may have: it is so
// also where the server gave no answer. 0 says that what there is is others'.
func (s *Session) Begun() int {
	s.stored.mu.Lock()
	defer s.stored.mu.Unlock()
	return s.stored.begun
}

// Log is the end of what Helm has said.
func (s *Session) Log() []string { return s.log.lines() }

// maxHistory is how many records are kept; 0 means all.
func maxHistory(obj *helmv2.HelmRelease) int {
	if obj.Spec.MaxHistory == nil {
		return defaultMaxHistory
	}
	return *obj.Spec.MaxHistory
}

const defaultMaxHistory = 5

// postRender adapts a session's Renderer to Helm's interface.
type postRender struct{ *Session }

// Run implements postrender.PostRenderer.
func (p postRender) Run(rendered *bytes.Buffer) (*bytes.Buffer, error) {
	var changed *bytes.Buffer
	err := p.rendering(func(ctx context.Context) (err error) {
		changed, err = p.Render.Objects(ctx, rendered)
		return err
	})
	return changed, err
}

// rendering has post-renderers run, in the time of one operation. They may wait for long
// for a place of their own.
func (s *Session) rendering(run func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.timeout, fmt.Errorf("the post-renderers were not done within %s", s.timeout))
	defer cancel()
	patiently(s.access.Yield, func() { err = run(ctx) })
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tail keeps the last lines of a log. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	kept []string
}

func (t *tail) printf(format string, args ...any) {
	line := reconcile.Redact(strings.TrimSpace(fmt.Sprintf(format, args...)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) == keptLines {
		t.kept = t.kept[1:]
	}
	t.kept = append(t.kept, line)
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.kept)
}
