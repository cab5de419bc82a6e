package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestID(t *testing.T) {
	for _, c := range []struct {
		name string
		ref  Ref
		id   string
		text string
	}{
		{
			"namespaced with a group",
			Ref{GroupKind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Version: "v1", Namespace: "shop", Name: "web"},
			"shop_web_apps_Deployment", "Deployment/shop/web",
		},
		{
			"core group",
			Ref{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Version: "v1", Namespace: "shop", Name: "kube-root-ca.crt"},
			"shop_kube-root-ca.crt__ConfigMap", "ConfigMap/shop/kube-root-ca.crt",
		},
		{
			"cluster-scoped core",
			Ref{GroupKind: schema.GroupKind{Kind: "Namespace"}, Version: "v1", Name: "shop"},
			"_shop__Namespace", "Namespace/shop",
		},
		{
			"RBAC names may have colons",
			Ref{GroupKind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, Version: "v1", Name: "system:web:reader"},
			"_system__web__reader_rbac.authorization.k8s.io_ClusterRole", "ClusterRole/system:web:reader",
		},
		{
			"RBAC names may have underscores",
			Ref{GroupKind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"}, Version: "v1", Namespace: "shop", Name: "a_b"},
			"shop_a_b_rbac.authorization.k8s.io_Role", "Role/shop/a_b",
		},
		{
			"definition",
			Ref{GroupKind: schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}, Version: "v1", Name: "stores.shop.example.com"},
			"_stores.shop.example.com_apiextensions.k8s.io_CustomResourceDefinition", "CustomResourceDefinition/stores.shop.example.com",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(c.ref.ID()).To(Equal(c.id))
			g.Expect(c.ref.String()).To(Equal(c.text))
			g.Expect(ParseID(c.id, "v1")).To(Equal(c.ref))
		})
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, id := range []string{"", "shop", "shop_web", "shop_web_Deployment", "shop__apps_Deployment", "shop_web_apps_", "___"} {
		t.Run(id, func(t *testing.T) {
			_, err := ParseID(id, "v1")
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(`inventory id "` + id + `"`)))
		})
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("shop_web_apps_Deployment")
	f.Add("_system__web_rbac.authorization.k8s.io_ClusterRole")
	f.Add("_a:b_rbac.authorization.k8s.io_Role")
	f.Fuzz(func(t *testing.T, id string) {
		ref, err := ParseID(id, "v1")
		if err != nil {
			return
		}
		again, err := ParseID(ref.ID(), "v1")
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(again).To(Equal(ref))
	})
}

func TestInventory(t *testing.T) {
	g := NewWithT(t)
	b := Ref{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Version: "v1", Namespace: "shop", Name: "b"}
	a := Ref{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Version: "v1", Namespace: "shop", Name: "a"}
	older := b
	older.Version = "v1beta1"

	g.Expect(Inventory([]Ref{b, a, older})).To(Equal([]Entry{
		{ID: "shop_a__ConfigMap", Version: "v1"},
		{ID: "shop_b__ConfigMap", Version: "v1"},
	}))
	g.Expect(Inventory(nil)).To(BeEmpty())
	g.Expect(Without([]Ref{a, older}, []Ref{b})).To(Equal([]Ref{a}), "another version is the same object")
}
