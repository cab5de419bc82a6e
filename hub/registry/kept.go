package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

const (
	// What a registry said of how to log in, and its token, are kept for at most
	// keptTime, and for at most keptRepositories.
	keptTime         = time.Hour
	keptRepositories = 4096
	// handshakeTime is how long a registry may take to say how to log in, and to
	// give a token.
	handshakeTime = 30 * time.Second
)

// pullers are kept from one session to the next, so that a poll is one
// request: without them each would ask the registry how to log in, and for a
// token, anew. The zero pullers are ready for use, by many goroutines.
type pullers struct {
	once    sync.Once
	known   *lru.Cache[pullerKey, kept]
	flights singleflight.Group
}

// pullerKey is the digest of what is sent, and not of which Secret has it: a
// login that was changed is another one.
type pullerKey [sha256.Size]byte

type kept struct {
	*remote.Puller
	since time.Time
}

// keyOf is that of a repository with the very login over the transport of that id.
func keyOf(repository name.Repository, insecure bool, over uint64, login authn.AuthConfig) (pullerKey, error) {
	text, err := json.Marshal([]any{repository.Name(), insecure, over, &login})
	return sha256.Sum256(text), err
}

// of returns the puller that is kept, or else one of a new handshake, which all
// who ask meanwhile wait for, each until its own context ends. The handshake's
// time is its own: whoever came first may have little, or far too much. One that
// failed gives a puller whose requests all fail in that way, and is not kept.
func (p *pullers) of(ctx context.Context, key pullerKey, handshake func(context.Context) (http.RoundTripper, error)) *remote.Puller {
	p.once.Do(func() { p.known, _ = lru.New[pullerKey, kept](keptRepositories) }) // fails for no size alone
	flight := p.flights.DoChan(string(key[:]), func() (any, error) {
		if found, ok := p.known.Get(key); ok && time.Since(found.since) < keptTime {
			return found.Puller, nil
		}
		own := newBounds()
		during, cancel := context.WithTimeout(own.in(context.WithoutCancel(ctx)), handshakeTime)
		defer cancel()
		by, err := handshake(during)
		if err != nil && during.Err() != nil {
			err = fmt.Errorf("the registry does not say within %s how to log in", handshakeTime)
		}
		if err != nil {
			return newPuller(broken{err, own}), nil
		}
		made := newPuller(by)
		p.known.Add(key, kept{made, time.Now()})
		return made, nil
	})
	select {
	case result := <-flight:
		return result.Val.(*remote.Puller)
	case <-ctx.Done():
		return newPuller(broken{ctx.Err(), newBounds()})
	}
}

// forget has the next handshake made anew.
func (p *pullers) forget(key pullerKey) { p.known.Remove(key) }

// newPuller reads repositories by a transport that logs in.
func newPuller(by http.RoundTripper) *remote.Puller {
	puller, _ := remote.NewPuller( // fails for options that contradict each other alone
		remote.WithTransport(by),
		// The loop repeats what failed, with its own backoff.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	)
	return puller
}

// broken fails each request as the handshake did, within these bounds.
type broken struct {
	error
	bounds *bounds
}

// RoundTrip sends nothing.
func (b broken) RoundTrip(request *http.Request) (*http.Response, error) {
	boundsOf(request).retryAfter.Store(b.bounds.retryAfter.Load())
	return nil, b.error
}
