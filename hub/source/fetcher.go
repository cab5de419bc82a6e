package source

import (
	"context"
	"io/fs"
	"os"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Object is what the Reconciler needs to know of a kind's Go type.
type Object interface {
	reconcile.Object
	// GetArtifact returns status.artifact; nil when there is none.
	GetArtifact() *meta.Artifact
	// SetArtifact replaces it.
	SetArtifact(artifact *meta.Artifact)
}

// Fetcher is what a kind of source supplies. Its methods may be called for
// several objects at once. An error carries its reason (reconcile.Fail), says
// which field of the spec is wrong, and holds no secret.
type Fetcher[T Object] interface {
	// Kind is the name of the kind in the API; it is part of the artifact's
	// path.
	Kind() string
	// Ignore returns spec.ignore (excludes in .gitignore syntax; nil when
	// unset) and where status.observedIgnore is.
	Ignore(obj T) (want *string, observed **string)
	// Resolve asks the remote which revision the object's reference points to
	// now. It does so at every interval, so it has to be cheap.
	Resolve(ctx context.Context, obj T) (Revision, error)
	// Fetch writes the files of the revision into dir, which is empty, or says
	// where they can be read. It may leave scratch files beside dir; all is
	// removed after the run. Like Resolve it calls queue.Enter before it does what
	// takes much memory or a processor, and where it can after what the remote can
	// make slow.
	Fetch(ctx context.Context, obj T, rev Revision, dir string) (Content, error)
}

// Observer is a Fetcher whose artifacts depend on more of the spec than the
// reference and the excludes.
type Observer[T Object] interface {
	// Observed says whether status holds what the spec asks for now.
	Observed(obj T) bool
	// Observe notes in status what the artifact of the revision was made with.
	Observe(obj T, rev Revision)
}

// Teller is a Fetcher that has words of its own for an object that is well.
type Teller[T Object] interface {
	// Ready is the reason and message of an object with an artifact.
	Ready(obj T) (reason, message string)
}

// Content is what a Fetch brought.
type Content struct {
	// Summary completes the sentence "stored artifact …" of the event. It is
	// not read of a Teller, whose events say what its Ready does.
	Summary string
	// Metadata of the upstream, for the artifact; may be nil.
	Metadata map[string]string
	// Tree, when set, has the files, and dir is not read.
	Tree fs.FS
	// Done gives up what Tree reads from; may be nil. It is called once the
	// artifact is made.
	Done func()
	// File, when set, is the artifact as it is, and neither Tree nor dir is
	// read. It is a path beside dir.
	File string
	// Whole says that what belongs to version control, and what is excluded
	// by default, stays in the artifact, because the Fetcher left out what
	// the spec excludes.
	Whole bool
}

// Files are those that were fetched into dir, or where else they are.
func (c Content) Files(dir string) fs.FS {
	if c.Tree != nil {
		return c.Tree
	}
	return os.DirFS(dir)
}

// Close calls Done.
func (c Content) Close() {
	if c.Done != nil {
		c.Done()
	}
}

// Revision is one state of a remote.
type Revision struct {
	// Name is what status shows, such as main@sha1:<commit>. Equal names mean
	// equal content.
	Name string
	// ID names the state alone, such as the commit's hash. It becomes the name
	// of the artifact's file.
	ID string
	// File is the name of the artifact's file where it is another one than ID
	// with .tar.gz.
	File string
	// Found is what Resolve learnt, for Fetch; the Fetcher alone reads it.
	Found any
	// Stale says that the artifact in status is made of something older, although
	// the revision is the same.
	Stale bool
	// Release gives up what Found holds; may be nil. It is called once the run
	// is over.
	Release func()
}

func (r Revision) file() string {
	if r.File != "" {
		return r.File
	}
	return r.ID + ".tar.gz"
}

func (r Revision) release() {
	if r.Release != nil {
		r.Release()
	}
}

// part is an error that is about something else than the remote.
type part struct {
	error
	condition string
}

func (p *part) Unwrap() error { return p.error }

// Unbuilt says that the error, which has its reason, is about what was made of
// that which was fetched: it becomes the condition BuildFailed.
func Unbuilt(err error) error { return &part{err, buildFailedCondition} }

// Unverified says that the error, which has its reason, is about a signature:
// it becomes SourceVerified=False.
func Unverified(err error) error { return &part{err, sourceVerifiedCondition} }

// Unavailable says that the error, which has its reason, is about another
// artifact that is to be part of this one: it becomes IncludeUnavailable.
func Unavailable(err error) error { return &part{err, includeUnavailableCondition} }
