package kustomize

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// mortal lets so many writes through. At the next one the process is as if it
// were killed: the write reaches the server or not, its answer and those of all
// later ones do not come, and nothing is said in the hub, as nothing is by an
// agent that has lost its target.
type mortal struct {
	client.Client
	life *life
}

type life struct {
	mu      sync.Mutex
	left    int
	reaches bool
	over    chan struct{}
	once    sync.Once
}

// spend says whether the write is answered, and whether it reaches the server.
func (l *life) spend() (answered, reaches bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left--
	return l.left >= 0, l.left >= 0 || l.left == -1 && l.reaches
}

func (c *mortal) write(do func() error) error {
	answered, reaches := c.life.spend()
	var err error
	if reaches {
		err = do()
	}
	if answered {
		return err
	}
	c.life.once.Do(func() { close(c.life.over) })
	return reconcile.ErrNotOwner
}

func (c *mortal) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	if !applies(patch, options) {
		return c.Client.Patch(ctx, obj, patch, options...)
	}
	return c.write(func() error { return c.Client.Patch(ctx, obj, patch, options...) })
}

func (c *mortal) Delete(ctx context.Context, obj client.Object, options ...client.DeleteOption) error {
	return c.write(func() error { return c.Client.Delete(ctx, obj, options...) })
}

// made are the objects at the target that are labelled as the Kustomization's.
func (e *env) made() []string {
	e.t.Helper()
	var ids []string
	for kind, id := range map[string]string{"ConfigMap": "NS_%s__ConfigMap", "ClusterRole": "_%s_rbac.authorization.k8s.io_ClusterRole"} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("v1")
		if kind == "ClusterRole" {
			list.SetAPIVersion("rbac.authorization.k8s.io/v1")
		}
		list.SetKind(kind + "List")
		e.Expect(e.hub.List(e.t.Context(), list, client.MatchingLabels{
			"kustomize.toolkit.fluxcd.io/name": "web", "kustomize.toolkit.fluxcd.io/namespace": e.namespace,
		})).To(Succeed())
		for _, obj := range list.Items {
			ids = append(ids, fmt.Sprintf(id, strings.ReplaceAll(obj.GetName(), e.namespace, "NS")))
		}
	}
	slices.Sort(ids)
	return ids
}

// Wherever the process is killed, whoever comes next knows of every object that
// was made, and takes those away that are wanted no more.
func TestNothingIsForgottenWhereverTheAgentIsKilled(t *testing.T) {
	e := newEnv(t)
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: role-NS}\n"
	e.push("0", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	for deaths := 0; ; deaths++ {
		// A healthy agent takes over what the one before has left, and goes.
		e.wrap = nil
		before := fmt.Sprintf("before-%d", deaths)
		e.push(before, "one.yaml", configMap("one", "NS", "a"), "old.yaml", configMap("old", "NS", "a"))
		stop := e.start()
		e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:"+before)
		e.Expect(e.made()).To(Equal([]string{"NS_old__ConfigMap", "NS_one__ConfigMap"}))
		e.Expect(e.inventory()).To(Equal(e.made()))
		stop()

		// Both kinds of death at each write: ahead of the server, and after it.
		dies := &life{left: deaths / 2, reaches: deaths%2 == 1, over: make(chan struct{})}
		e.wrap = func(next client.Client) client.Client { return &mortal{next, dies} }
		after := fmt.Sprintf("after-%d", deaths)
		e.push(after, "role.yaml", role, "one.yaml", configMap("one", "NS", "b"), "new.yaml", configMap("new", "NS", "b"))
		stop = e.start()
		survived := false
		e.Eventually(func() bool {
			select {
			case <-dies.over:
				return true
			default:
				survived = strings.HasSuffix(e.ready("web"), "main@sha1:"+after)
				return survived
			}
		}, "20s", "20ms").Should(BeTrue())
		stop()
		for _, id := range e.made() {
			e.Expect(e.inventory()).To(ContainElement(id), "after %d", deaths)
		}
		if survived {
			// Four writes: the role, the two ConfigMaps, and the deletion.
			e.Expect(deaths).To(BeNumerically(">=", 8))
			e.Expect(e.made()).To(Equal([]string{"NS_new__ConfigMap", "NS_one__ConfigMap", "_role-NS_rbac.authorization.k8s.io_ClusterRole"}))
			break
		}
	}
	e.Expect(e.hub.Delete(t.Context(), e.get("web"))).To(Succeed())
	e.wrap = nil
	e.start()
	e.Eventually(e.made, "20s").Should(BeEmpty())
}
