package oci_test

import (
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	registries "github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/oci"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// Distribution's registry itself asks for the login, lists the tags, and answers
// for digests.
func TestDistributionByItself(t *testing.T) {
	g := NewWithT(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("s3cret"), bcrypt.MinCost)
	g.Expect(err).NotTo(HaveOccurred())
	host := testenv.StartDockerRegistry(t, "flux:"+string(hash)+"\n").Addr
	digests := map[string]string{}
	for _, tag := range []string{"1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1"} {
		image := artifactOf(t, filesLayer(t, map[string]string{"tag": tag}))
		ref, err := name.NewTag(host+"/team/app:"+tag, name.Insecure)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "flux", Password: "s3cret"}))).To(Succeed())
		digest, err := image.Digest()
		g.Expect(err).NotTo(HaveOccurred())
		digests[tag] = digest.String()
	}
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	run := func(ref sourcev1.OCIRepositoryRef, password string) (*sourcev1.OCIRepository, error) {
		auth := base64.StdEncoding.EncodeToString([]byte("flux:" + password))
		login := newSecret("login", map[string]string{".dockerconfigjson": fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)})
		r := &source.Reconciler[*sourcev1.OCIRepository]{
			Fetcher: &oci.Fetcher{Registries: registries.Opener{Secrets: fake.NewClientBuilder().WithObjects(login).Build(), Transport: access.NewTransport()}},
			Store:   store, Events: reconcile.NewRecorder(record.NewFakeRecorder(10), nil, "source-controller", ""),
		}
		obj := (&remoteRegistry{Server: &httptest.Server{URL: host}}).object()
		obj.Spec.Insecure, obj.Spec.CertSecretRef = true, nil
		obj.Spec.Reference = &ref
		return obj, r.Reconcile(t.Context(), obj)
	}
	for want, ref := range map[string]sourcev1.OCIRepositoryRef{
		"1.10.0@" + digests["1.10.0"]:         {SemVer: "1.x"},
		"2.0.0-rc.1@" + digests["2.0.0-rc.1"]: {SemVer: ">=2.0.0-0"},
		"1.2.0@" + digests["1.2.0"]:           {Tag: "1.2.0"},
		digests["1.0.0"]:                      {Digest: digests["1.0.0"]},
	} {
		obj, err := run(ref, "s3cret")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(obj.Status.Artifact.Revision).To(Equal(want))
	}
	_, err = run(sourcev1.OCIRepositoryRef{Tag: "1.2.0"}, "hunter2")
	reason, _ := reconcile.ReasonOf(err)
	g.Expect(reason).To(Equal("AuthenticationFailed"))
	g.Expect(err).To(MatchError(ContainSubstring("Secret team/login")))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	_, err = run(sourcev1.OCIRepositoryRef{Tag: "3.0.0"}, "s3cret")
	g.Expect(err).To(MatchError(ContainSubstring(`tag "3.0.0"`)))
}
