package testenv

import (
	"net/netip"
	"net/url"
	"testing"

	. "github.com/onsi/gomega"
)

func TestParseTarget(t *testing.T) {
	for _, test := range []struct {
		method, url string
		want        target
		writes      bool
	}{
		{"GET", "/readyz?verbose", target{Verb: "get"}, false},
		{"GET", "/api", target{Verb: "get"}, false},
		{"GET", "/apis/apps/v1", target{Verb: "get"}, false},
		{"GET", "/api/v1/pods", target{Verb: "list", Resource: "pods"}, false},
		{"GET", "/api/v1/pods?watch=true", target{Verb: "watch", Resource: "pods"}, false},
		{"GET", "/api/v1/pods?watch=1", target{Verb: "watch", Resource: "pods"}, false},
		{"GET", "/api/v1/nodes/n", target{Verb: "get", Resource: "nodes", Name: "n"}, false},
		{"GET", "/api/v1/namespaces", target{Verb: "list", Resource: "namespaces"}, false},
		{
			"PATCH", "/api/v1/namespaces/a",
			target{Verb: "patch", Resource: "namespaces", Namespace: "a", Name: "a"}, true,
		},
		{
			"PUT", "/api/v1/namespaces/a/finalize",
			target{Verb: "update", Resource: "namespaces", Namespace: "a", Name: "a", Subresource: "finalize"}, true,
		},
		{
			"POST", "/apis/apps/v1/namespaces/a/deployments",
			target{Verb: "create", APIGroup: "apps", Resource: "deployments", Namespace: "a"}, true,
		},
		{
			"DELETE", "/apis/apps/v1/namespaces/a/deployments/web",
			target{Verb: "delete", APIGroup: "apps", Resource: "deployments", Namespace: "a", Name: "web"}, true,
		},
		{
			"DELETE", "/apis/apps/v1/namespaces/a/deployments",
			target{Verb: "deletecollection", APIGroup: "apps", Resource: "deployments", Namespace: "a"}, true,
		},
		{
			"PATCH", "/apis/apps/v1/namespaces/a/deployments/web/status",
			target{Verb: "patch", APIGroup: "apps", Resource: "deployments", Namespace: "a", Name: "web", Subresource: "status"}, true,
		},
		{
			"POST", "/api/v1/namespaces/a/serviceaccounts/b/token",
			target{Verb: "create", Resource: "serviceaccounts", Namespace: "a", Name: "b", Subresource: "token"}, false,
		},
		{
			"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
			target{Verb: "create", APIGroup: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}, false,
		},
		{"POST", "/", target{Verb: "post"}, false},
	} {
		t.Run(test.method+" "+test.url, func(t *testing.T) {
			g := NewWithT(t)
			address, err := url.Parse(test.url)
			g.Expect(err).NotTo(HaveOccurred())
			got := parseTarget(test.method, address)
			g.Expect(got).To(Equal(test.want))
			g.Expect(got.writes()).To(Equal(test.writes))
		})
	}
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"0000000000000000FFFF00000100007F:01BB": "127.0.0.1:443",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"local_address":                         "invalid AddrPort",
	} {
		t.Run(text, func(t *testing.T) {
			NewWithT(t).Expect(parseAddress(text).String()).To(Equal(want))
			if want == "invalid AddrPort" {
				NewWithT(t).Expect(parseAddress(text)).To(Equal(netip.AddrPort{}))
			}
		})
	}
}

func TestTokenSubject(t *testing.T) {
	for authorization, want := range map[string]string{
		"":               "",
		"Bearer opaque":  "",
		"Bearer a.!.c":   "",
		"Bearer a.bm8.c": "",
		// {"sub":"system:serviceaccount:a:b"}
		"Bearer h.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.s": "system:serviceaccount:a:b",
	} {
		t.Run(authorization, func(t *testing.T) {
			NewWithT(t).Expect(tokenSubject(authorization)).To(Equal(want))
		})
	}
}
