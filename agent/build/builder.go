package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Files are what a build reads, as kustomize's file systems have them.
type Files interface {
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]string, error)
	CleanedAbs(name string) (filesys.ConfirmedDir, string, error)
	Exists(name string) bool
	IsDir(name string) bool
}

const (
	// DefaultMemory is what one build may take, in bytes.
	DefaultMemory = 768 << 20
	// TextsInStep is how many bytes kustomize parses, when it writes a text into an
	// object, in the time of comparing two objects, about a microsecond.
	TextsInStep = 25
	// Timeout is how long one build may take.
	Timeout = 10 * time.Minute
	// idleTime is how long a process is kept for the next build.
	idleTime = time.Minute
)

var (
	// ErrCrashed is what is said of files on which kustomize crashed. What a panic says
	// may quote what is in them.
	ErrCrashed = errors.New("kustomize crashed on these files: the agent's log says where")
	errTooLong = fmt.Errorf("kustomize takes longer than %s for these files: make several Kustomizations of them", Timeout)
)

// Builder runs kustomize in processes. It is safe for concurrent use.
type Builder struct {
	places *semaphore.Weighted
	memory int64

	mu   sync.Mutex
	idle []*process
}

// New makes a Builder of as many processes at once, of which each may take so much
// memory for a build, in bytes beyond what it has at its start; zero is DefaultMemory.
func New(places, memory int64) *Builder {
	return &Builder{places: semaphore.NewWeighted(places), memory: cmp.Or(memory, DefaultMemory)}
}

// Run builds a directory, and has take take each object, in JSON with the name that
// kustomize knows it by. The files are read from this goroutine alone. It ends with the
// context, after Timeout, and with the first error of take.
func (b *Builder) Run(ctx context.Context, files Files, dir string, take func(name string, object []byte) error) error {
	if err := b.places.Acquire(ctx, 1); err != nil {
		return err
	}
	defer b.places.Release(1)
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, errTooLong)
	defer cancel()
	if p := b.waiting(); p != nil {
		if err := b.build(ctx, p, files, dir, take); !errors.Is(err, errGone) {
			return err
		}
	}
	p, err := start(b.memory)
	if err != nil {
		return err
	}
	return b.build(ctx, p, files, dir, take)
}

// build has a process build, and keeps it or ends it. The error is errGone when the
// process had ended while it waited.
func (b *Builder) build(ctx context.Context, p *process, files Files, dir string, take func(name string, object []byte) error) error {
	kept := false
	defer func() {
		if !kept { // when something panics here, nobody else ends it
			_ = p.end()
		}
	}()
	stop := context.AfterFunc(ctx, p.kill)
	reusable, err := p.build(ctx, files, dir, take)
	if stop() && reusable {
		kept = true
		b.keep(p)
		return err
	}
	how := p.end()
	switch {
	case !errors.Is(err, errBroken):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.waited:
		log.FromContext(ctx).Info("a process of kustomize ended while it waited for a build", "how", fmt.Sprint(how))
		return errGone
	case p.said.outOfMemory():
		return fmt.Errorf("kustomize takes more than %d MiB of memory for these files: make several Kustomizations of them", b.memory>>20)
	}
	log.FromContext(ctx).Error(ErrCrashed, "a process of kustomize ended", "how", fmt.Sprint(how), "asked", p.asked.Verb.String(), "path", p.asked.Text)
	return ErrCrashed
}

// waiting is a process that waits for a build; nil when there is none.
func (b *Builder) waiting() *process {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.idle) > 0 {
		p := b.idle[len(b.idle)-1]
		b.idle = b.idle[:len(b.idle)-1]
		if p.retire.Stop() {
			return p
		}
	}
	return nil
}

// keep lets a process wait for the next build.
func (b *Builder) keep(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.waited = true
	b.idle = append(b.idle, p)
	p.retire = time.AfterFunc(idleTime, func() {
		b.forget(p)
		_ = p.end() // it has nothing to do
	})
}

func (b *Builder) forget(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = slices.DeleteFunc(b.idle, func(other *process) bool { return other == p })
}
