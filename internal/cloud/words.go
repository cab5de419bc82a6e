package cloud

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/fluxcd/pkg/auth"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxError bounds in bytes what is quoted of a cloud's error.
const maxError = 300

// attempt is what makes a cloud's error another one at every attempt.
var attempt = regexp.MustCompile(`(?i),? ?request ?id: [^ ,]+`)

// Object-level identity is no gate here: it is the safe way, since the
// ServiceAccount is the tenant's own.
func init() { auth.EnableObjectLevelWorkloadIdentity() }

// code is Microsoft's name of a refusal, which its first line does not have.
var code = regexp.MustCompile(`AADSTS\d{1,10}`)

// Error is the first line of what a cloud says, with the code of the refusal and without what differs from one
// attempt to the next: conditions repeat it.
func Error(provider string, err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	text = attempt.ReplaceAllString(text, "")
	if said := code.FindString(err.Error()); said != "" && !strings.Contains(text, said) {
		text = strings.TrimSpace(text) + " " + said
	}
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return fmt.Errorf("provider %s: %s", provider, strings.TrimSpace(text))
}

// PastCache reads live, past the cache of the client, which is to hold no
// ServiceAccounts.
func PastCache(c client.Client, live client.Reader) client.Client { return pastCache{c, live} }

type pastCache struct {
	client.Client
	live client.Reader
}

func (p pastCache) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return p.live.Get(ctx, key, obj, opts...)
}
