package render

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
)

// ErrNoPath says that the path of the spec is not in the artifact.
var ErrNoPath = errors.New("kustomization path not found")

// ErrLong says that a build turns out to take seconds or minutes: that of a Request
// which is not Long.
var ErrLong = errors.New("the build takes long")

// Keys opens what is encrypted in an artifact. It is safe for concurrent use.
type Keys interface {
	// ID names whose keys these are and their state. What they opened is shown
	// to those alone who come with the same ID.
	ID() string
	// Sealed says whether a file is encrypted in the format that the name's ending
	// says.
	Sealed(name string, content []byte) bool
	// File returns the content of a file, decrypted if Sealed. It may wait for the
	// network until the context ends, as Object may.
	File(ctx context.Context, name string, content []byte) ([]byte, error)
	// Object decrypts an object in place, if it is encrypted.
	Object(ctx context.Context, obj *unstructured.Unstructured) error
}

// Archive is an artifact that is at hand.
type Archive interface {
	// Size is how many bytes it says that it unpacks to; it may be more.
	Size() (int64, error)
	// Files reads the files by path, and the sizes alone of those that have more than
	// each bytes. An error wraps artifact.ErrTooLarge if it unpacks to more than all bytes.
	Files(each, all int64) (files map[string][]byte, larger map[string]int64, err error)
	// Close gives it up.
	Close() error
}

// Request is what one build depends on.
type Request struct {
	// Digest names the content of the files. When it is empty, nothing is kept
	// of the build.
	Digest string
	// Open has the artifact at hand, for which it may wait for the network. It is
	// called where nothing is kept, possibly on behalf of others who want the same,
	// and before the build has a place among those that run.
	Open func(context.Context) (Archive, error)
	// Settings are laid over the kustomization file.
	Settings Settings
	// Keys open what is encrypted; nil where the spec has no decryption.
	Keys Keys
	// Variables replace ${...} in the objects; nil to leave the text as it is.
	Variables *Variables
	// CommonMetadata is put on all objects, at the very end.
	CommonMetadata *meta.CommonMetadata
	// Long says that the build may take long. Nobody else waits for it, nor it for others:
	// its caller has seen to it that there is one such at a time.
	Long bool
}

// Options configure a Renderer. Zero means the default.
type Options struct {
	// MaxBytes bounds what is kept in memory, estimated; 64 MiB.
	MaxBytes int64
	// Concurrency is how many builds may run at once, besides one that takes long; 2.
	// Together they hold 512 MiB of artifacts, and the long one as many.
	Concurrency int64
	// Builder runs kustomize; nil is one with a place for each build.
	Builder *build.Builder
	// Remotes fetches what kustomizations name at other places; nil to refuse it.
	Remotes Remotes

	most limits
	// opening bounds the decryption of a build.
	opening time.Duration
	// noShortWay leaves all to kustomize, for a test to compare.
	noShortWay bool
	// wrong, if set, spoils what the short way finds, for a test to see that it shows.
	wrong func([]*unstructured.Unstructured) []*unstructured.Unstructured
}

const (
	defaultMaxBytes    = 64 << 20
	defaultConcurrency = 2
	// knownLong is of how many builds it is remembered that they take long.
	knownLong = 10_000
)

// Renderer turns files into objects and keeps the results in two layers, by
// what they depend on: what kustomize rendered, and that with variables filled
// in. It is safe for concurrent use.
type Renderer struct {
	options                Options
	rendered, substituted  *layer
	building, fetching     *semaphore.Weighted
	builds, shortcuts, hit prometheus.Counter
	// long are the keys of the builds that take long.
	long *lru.Cache[string, struct{}]
	// held are the bytes of artifacts that builds hold, but for the long one.
	held *semaphore.Weighted
}

// New makes a Renderer.
func New(o Options) (*Renderer, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Builder == nil {
		o.Builder = build.New(o.Concurrency+1, 0)
	}
	if o.most == (limits{}) {
		o.most = defaultLimits()
	}
	if o.opening == 0 {
		o.opening = openingTimeout
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	r := &Renderer{
		options:   o,
		building:  semaphore.NewWeighted(o.Concurrency),
		fetching:  semaphore.NewWeighted(fetching),
		held:      semaphore.NewWeighted(artifact.MaxBytes),
		builds:    counter("headwater_builds_total", "Builds of an artifact's directory, successful or not."),
		shortcuts: counter("headwater_builds_direct_total", "Builds that took the short way round kustomize."),
		hit:       counter("headwater_build_cache_hits_total", "Builds that were spared because the result was kept in memory."),
	}
	var errs [3]error
	r.rendered, errs[0] = newLayer(o.MaxBytes / 2)
	r.substituted, errs[1] = newLayer(o.MaxBytes / 2)
	r.long, errs[2] = lru.New[string, struct{}](knownLong)
	return r, errors.Join(errs[:]...)
}

// Describe makes the Renderer a prometheus.Collector.
func (r *Renderer) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, to) }

// Collect makes the Renderer a prometheus.Collector.
func (r *Renderer) Collect(to chan<- prometheus.Metric) {
	for _, counter := range []prometheus.Counter{r.builds, r.shortcuts, r.hit} {
		counter.Collect(to)
	}
}

// Render builds the objects. An empty directory is an empty set. The objects
// are the caller's own.
func (r *Renderer) Render(ctx context.Context, req Request) ([]*unstructured.Unstructured, error) {
	objects, _, err := r.RenderNow(ctx, req)
	return objects, err
}

// RenderNow is Render, and says whether the same request may have another result
// the next time: something of it is at another place, which may change.
func (r *Renderer) RenderNow(ctx context.Context, req Request) (objects []*unstructured.Unstructured, moving bool, err error) {
	key, err := req.key()
	if err != nil {
		return nil, false, err
	}
	render := func(ctx context.Context) (result, error) {
		if made, ok := r.placed(ctx, req); ok {
			return made, nil
		}
		return r.shared(ctx, req)
	}
	var made result
	if req.Variables == nil {
		made, err = render(ctx)
	} else {
		made, err = r.substitute(ctx, key, req, render)
	}
	if err != nil {
		return nil, false, err
	}
	objects = made.copied()
	setCommonMetadata(objects, req.CommonMetadata)
	return objects, made.moving, nil
}

// shared builds, or returns what was built for the same before.
func (r *Renderer) shared(ctx context.Context, req Request) (result, error) {
	key, err := req.key()
	if err != nil {
		return result{}, err
	}
	made, kept, err := r.rendered.get(ctx, key, req.Long, func(ctx context.Context) (result, error) {
		if !req.Long && r.long.Contains(key) {
			return result{}, ErrLong
		}
		return r.buildOpened(ctx, req)
	})
	if kept {
		r.hit.Inc()
	}
	if key != "" && errors.Is(err, ErrLong) {
		r.long.Add(key, struct{}{})
	}
	return made, err
}

// substitute fills in variables. The layer below is asked only where the result
// is not kept.
func (r *Renderer) substitute(ctx context.Context, key string, req Request, below func(context.Context) (result, error)) (result, error) {
	if key != "" {
		key += " " + req.Variables.digest()
	}
	made, kept, err := r.substituted.get(ctx, key, req.Long, func(ctx context.Context) (result, error) {
		made, err := below(ctx)
		if err != nil {
			return result{}, err
		}
		objects, err := req.Variables.fill(made.objects, r.options.most.bytes)
		filled := of(objects)
		filled.moving = made.moving
		return filled, err
	})
	if kept {
		r.hit.Inc()
	}
	return made, err
}

// key names what kustomize renders for the request. What was decrypted is under
// the key of those who may see it.
func (req Request) key() (string, error) {
	if req.Digest == "" {
		return "", nil
	}
	settings, err := req.Settings.digest()
	if err != nil {
		return "", err
	}
	key := req.Digest + " " + settings
	if req.Keys != nil {
		key += " " + req.Keys.ID()
	}
	return key, nil
}

// build renders, with what is known from outside.
func (r *Renderer) build(ctx context.Context, req Request, known *outside) (result, error) {
	archive, err := req.Open(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = archive.Close() }()
	if !req.Long {
		if err := r.building.Acquire(ctx, 1); err != nil {
			return result{}, err
		}
		defer r.building.Release(1)
	}
	r.builds.Inc()
	files, larger, release, err := r.files(ctx, archive, req.Long)
	if err != nil {
		return result{}, err
	}
	defer release()
	dir, err := entryPoint(req.Settings.Path)
	if err != nil {
		return result{}, err
	}
	t := newTree(ctx, files, r.options.most)
	t.leave(larger)
	t.keys, t.remotes, t.opened, t.long = req.Keys, r.options.Remotes != nil, known.opened, req.Long
	if !t.isDir(dir) {
		return result{}, fmt.Errorf("%w: spec.path %q is no directory of the artifact", ErrNoPath, req.Settings.Path)
	}
	k, err := t.enter(dir, req.Settings)
	if err != nil || k == nil {
		return result{}, err
	}
	t.mount(known.fetched)
	found, short, err := r.objects(t, dir, k)
	var missing *remoteError
	if len(t.missing) > 0 && t.refusal == nil && !errors.As(err, &missing) {
		// Whatever was made of ciphertext does not count.
		return result{}, &sealedError{t.missing}
	}
	return result{objects: found, short: short}, err
}

// files reads the artifact once there is memory for it, until release. The build that
// takes long does not share that: it would have others wait as long.
func (r *Renderer) files(ctx context.Context, archive Archive, long bool) (files map[string][]byte, larger map[string]int64, release func(), err error) {
	if long {
		files, larger, err = archive.Files(maxFileBytes, artifact.MaxBytes)
		return files, larger, func() {}, err
	}
	said, err := archive.Size()
	if err != nil {
		return nil, nil, nil, err
	}
	for weight := max(1, min(said, artifact.MaxBytes)); ; weight = artifact.MaxBytes {
		if err := r.held.Acquire(ctx, weight); err != nil {
			return nil, nil, nil, err
		}
		files, larger, err = archive.Files(maxFileBytes, weight)
		if err == nil {
			return files, larger, func() { r.held.Release(weight) }, nil
		}
		r.held.Release(weight)
		if weight == artifact.MaxBytes || !errors.Is(err, artifact.ErrTooLarge) {
			return nil, nil, nil, err
		}
	}
}

// entryPoint is the path of the directory to build, below the artifact's root.
// A leading slash means that root.
func entryPoint(specPath string) (string, error) {
	dir := path.Clean(strings.TrimLeft(specPath, "/"))
	if dir == ".." || strings.HasPrefix(dir, "../") {
		return "", fmt.Errorf("%w: spec.path %q leads out of the artifact", ErrNoPath, specPath)
	}
	return clean(dir), nil
}

// open decrypts the objects, or makes sure that there is nothing to decrypt: an
// encrypted Secret must not become one of ciphertext.
func open(ctx context.Context, keys Keys, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		if disabled(obj, "kustomize.toolkit.fluxcd.io/decrypt") {
			continue
		}
		if keys != nil {
			if err := keys.Object(ctx, obj); err != nil {
				return fmt.Errorf("%s: %w", nameOf(obj), err)
			}
			continue
		}
		_, encrypted, _ := unstructured.NestedFieldNoCopy(obj.Object, "sops", "mac")
		if encrypted && obj.GetKind() == "Secret" && obj.GetAPIVersion() == "v1" {
			return fmt.Errorf("%s is SOPS encrypted: configure spec.decryption, or annotate it with kustomize.toolkit.fluxcd.io/decrypt: disabled", nameOf(obj))
		}
	}
	return nil
}

// disabled says whether a label or an annotation of the object opts it out.
func disabled(obj *unstructured.Unstructured, key string) bool {
	return strings.EqualFold(obj.GetLabels()[key], "disabled") || strings.EqualFold(obj.GetAnnotations()[key], "disabled")
}

// nameOf is how errors name an object: Kind/namespace/name.
func nameOf(obj *unstructured.Unstructured) string {
	return path.Join(obj.GetKind(), obj.GetNamespace(), obj.GetName())
}

// setCommonMetadata puts labels and annotations on all objects, over those that
// they have.
func setCommonMetadata(objects []*unstructured.Unstructured, common *meta.CommonMetadata) {
	if common == nil {
		return
	}
	for _, obj := range objects {
		if len(common.Labels) > 0 {
			obj.SetLabels(over(obj.GetLabels(), common.Labels))
		}
		if len(common.Annotations) > 0 {
			obj.SetAnnotations(over(obj.GetAnnotations(), common.Annotations))
		}
	}
}

func over(have, set map[string]string) map[string]string {
	if have == nil {
		have = map[string]string{}
	}
	for key, value := range set {
		have[key] = value
	}
	return have
}
