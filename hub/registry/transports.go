package registry

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
)

// keptTransports is how many transports of objects with TLS settings or a proxy
// are kept, for keptTime.
const keptTransports = 512

// transports are kept from one session to the next, so that a poll needs neither
// a handshake nor a question how to log in. Each belongs to one namespace, since
// the connections of one may be authenticated by a client's certificate, and to
// the Secrets' contents: when those change there is another in its place. The
// zero transports are ready for use, by many goroutines.
type transports struct {
	mu    sync.Mutex
	known *lru.Cache[wiring, wired]
	last  uint64 // id
}

// wiring is where the settings of a transport come from.
type wiring struct {
	namespace, cert, proxy string
	insecure               bool
}

type wired struct {
	*http.Transport
	id uint64
	// settings is the digest of what they were when it was made.
	settings [sha256.Size]byte
	since    time.Time
}

func wiringOf(a Access) wiring {
	named := func(ref *meta.LocalObjectReference) string {
		if ref == nil {
			return ""
		}
		return ref.Name
	}
	return wiring{a.Namespace, named(a.CertSecretRef), named(a.ProxySecretRef), a.Insecure}
}

// of returns the transport with the very settings, made from the base if there is
// none, and an id above zero that no other has.
func (t *transports) of(from wiring, settings access.Settings, base *http.Transport) (*http.Transport, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known, _ = lru.NewWithEvict(keptTransports, func(_ wiring, old wired) { old.CloseIdleConnections() }) // fails for no size alone
	}
	found, ok := t.known.Get(from)
	if ok && found.settings == settings.Digest && time.Since(found.since) < keptTime {
		return found.Transport, found.id
	}
	t.known.Remove(from)
	made := settings.On(base)
	if from.insecure && from.cert == "" {
		made.TLSClientConfig = anyCertificate()
	}
	t.last++
	t.known.Add(from, wired{made, t.last, settings.Digest, time.Now()})
	return made, t.last
}
