package registry

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// What a registry said of how to log in, and its token, are kept for at most
	// keptTime, and for at most keptRepositories.
	keptTime         = time.Hour
	keptRepositories = 4096
)

// pullers are kept from one session to the next, so that a poll is one
// request: without them each would ask the registry how to log in, and for a
// token, anew. The zero pullers are ready for use, by many goroutines.
type pullers struct {
	once  sync.Once
	known *lru.Cache[[sha256.Size]byte, kept]
}

type kept struct {
	*remote.Puller
	since time.Time
}

// of returns the puller of a repository with the very login over the transport of
// that id, which it makes if there is none, and how to forget it. It goes by what is
// sent and not by which Secret has it: a login that was changed is another one.
func (p *pullers) of(repository name.Repository, insecure bool, over uint64, login authn.AuthConfig, open func() (*remote.Puller, error)) (*remote.Puller, func(), error) {
	p.once.Do(func() { p.known, _ = lru.New[[sha256.Size]byte, kept](keptRepositories) }) // fails for no size alone
	text, err := json.Marshal([]any{repository.Name(), insecure, over, &login})
	if err != nil {
		return nil, nil, err
	}
	key := sha256.Sum256(text)
	forget := func() { p.known.Remove(key) }
	if found, ok := p.known.Get(key); ok && time.Since(found.since) < keptTime {
		return found.Puller, forget, nil
	}
	made, err := open()
	if err == nil {
		p.known.Add(key, kept{made, time.Now()})
	}
	return made, forget, err
}
