package shard_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

func secret(name, key string) *meta.KubeConfigReference {
	return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name, Key: key}}
}

func TestKeyFor(t *testing.T) {
	for name, tc := range map[string]struct {
		ref  *meta.KubeConfigReference
		want shard.Key
		text string
	}{
		"a Secret":                  {secret("prod", ""), shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}, "apps/prod/value"},
		"a Secret, default spelled": {secret("prod", "value"), shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}, "apps/prod/value"},
		"a data key":                {secret("prod", "eu.yaml"), shard.Key{Namespace: "apps", Name: "prod", DataKey: "eu.yaml"}, "apps/prod/eu.yaml"},
		"a ConfigMap": {&meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "prod"}},
			shard.Key{Namespace: "apps", Name: "prod", DataKey: "@configmap"}, "apps/prod/@configmap"},
		// The partition is part of the record on disk: it must never change.
		"none":  {nil, shard.Key{Name: "hub", Partition: 12}, "hub/12"},
		"empty": {&meta.KubeConfigReference{}, shard.Key{Name: "hub", Partition: 12}, "hub/12"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			key := shard.KeyFor("apps", "shop", tc.ref)
			g.Expect(key).To(Equal(tc.want))
			g.Expect(key.String()).To(Equal(tc.text))
			g.Expect(key.IsHub()).To(Equal(tc.want.Name == "hub"))
			parsed, err := shard.ParseKey(key.String())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(parsed).To(Equal(key))
			g.Expect(shard.KeyFor("apps", "shop", key.Reference())).To(Equal(key))
		})
	}
}

func TestKeyOfAnObjectNamedHubIsNotTheHub(t *testing.T) {
	g := NewWithT(t)
	g.Expect(shard.KeyFor("hub", "shop", secret("hub", "")).IsHub()).To(BeFalse())
	g.Expect(shard.KeyFor("flux-system", "shop", secret("hub", "")).IsHub()).To(BeFalse())
}

func TestParseKeyRefuses(t *testing.T) {
	for _, text := range []string{"", "hub", "hub/16", "hub/-1", "hub/x", "hub/", "apps/prod", "apps//value", "/prod/value", "apps/prod/", "a/b/c/d"} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			_, err := shard.ParseKey(text)
			g.Expect(err).To(MatchError(ContainSubstring("want namespace/secret/datakey")))
		})
	}
}

func TestHubPartitionsAreEven(t *testing.T) {
	g := NewWithT(t)
	counts := map[int32]int{}
	for i := range 16_000 {
		counts[shard.KeyFor("apps", fmt.Sprintf("shop-%d", i), nil).Partition]++
	}
	g.Expect(counts).To(HaveLen(16))
	for _, n := range counts {
		g.Expect(n).To(BeNumerically("~", 1000, 150))
	}
}

func TestCurrentKey(t *testing.T) {
	ref := func(name string) *meta.KubeConfigReference {
		return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name}}
	}
	cases := []struct {
		name, target string
		ref          *meta.KubeConfigReference
		want         string
	}{
		{name: "nothing applied yet", ref: ref("new"), want: "apps/new/value"},
		{name: "applied elsewhere", target: "apps/old/value", ref: ref("new"), want: "apps/old/value"},
		{name: "applied to another data key", target: "apps/new/other", ref: ref("new"), want: "apps/new/other"},
		{name: "another namespace's cluster", target: "kube-system/admin/value", ref: ref("new"), want: "apps/new/value"},
		{name: "not its partition of the hub", target: "hub/9", ref: ref("new"), want: "apps/new/value"},
		{name: "its partition of the hub", target: shard.KeyFor("apps", "web", nil).String(), ref: ref("new"), want: shard.KeyFor("apps", "web", nil).String()},
		{name: "nonsense", target: "a/b", ref: ref("new"), want: "apps/new/value"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			NewWithT(t).Expect(shard.CurrentKey("apps", "web", c.ref, c.target).String()).To(Equal(c.want))
		})
	}
}
