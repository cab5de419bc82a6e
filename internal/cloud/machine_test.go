package cloud_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// onMachine puts the process on a machine of a cloud, with no other identity: its
// metadata service is where the clouds have it, and for Google, whose library goes
// there past any proxy, where the environment says.
func onMachine(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "GOOGLE_APPLICATION_CREDENTIALS"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_REGION", clouds.Region)
	machine := services.Machine()
	services.Internet.Host("http://"+clouds.MetadataHost, machine)
	t.Cleanup(func() { services.Internet.Host("http://"+clouds.MetadataHost, http.NotFoundHandler()) })
	server := httptest.NewServer(machine)
	t.Cleanup(server.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
}

func TestTheIdentityOfTheMachine(t *testing.T) {
	onMachine(t)
	services.Registry("team.azurecr.io", clouds.MicrosoftUser(), nil)
	// A tenant's proxy is not asked: it would see what the machine may do.
	tenants := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	for provider, at := range registries {
		t.Run(provider, func(t *testing.T) {
			g := NewWithT(t)
			before := services.Asked("machine")
			purpose := "registry " + at.host
			if provider == cloud.GCP {
				purpose = clouds.GoogleAPI
			}
			login, err := new(cloud.Logins).Registry(t.Context(), provider, cloud.Identity{Namespace: "team", Proxy: tenants}, at.host+"/team/app")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(login.Username).To(Equal(at.user))
			g.Expect(services.Good(login.Password, purpose)).To(BeTrue())
			g.Expect(services.Asked("machine")).To(BeNumerically(">", before))
		})
	}
}

func TestThePublicRegistryOfAmazon(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("AWS_ACCESS_KEY_ID", clouds.OwnID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", clouds.OwnKey)
	for _, host := range []string{clouds.AmazonPublic, "ecr-public.aws.com"} {
		login, err := new(cloud.Logins).Registry(t.Context(), cloud.AWS, cloud.Identity{Namespace: "team"}, host+"/team/app")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(login.Username).To(Equal(clouds.AmazonUser))
		g.Expect(services.Good(login.Password, "registry "+clouds.AmazonPublic)).To(BeTrue())
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "guessed")
	_, err := new(cloud.Logins).Registry(t.Context(), cloud.AWS, cloud.Identity{Namespace: "team"}, clouds.AmazonPublic+"/team/app")
	g.Expect(err).To(MatchError(ContainSubstring("security token included in the request is invalid")))
}
