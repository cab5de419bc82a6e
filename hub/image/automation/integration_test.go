package automation

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	kuberecord "k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const within = 30 * time.Second

var shared = testenv.Shared{CRDs: true}

// TestMain is also the process that fills in a template, which the hub calls as
// itself.
func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{templateCommand}) {
		if err := fillIn(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "hub:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(shared.Run(m))
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  # the image
  template: {spec: {containers: [{name: web,   image: 'x'}]}}
image:   registry.example.com/app:1.0.0   # {"$imagepolicy": "%[1]s:app"}
tag: "1.0.0" # {"$imagepolicy": "%[1]s:app:tag"}
`

// world is a namespace on a real API server with the controller, and a real Git
// repository.
type world struct {
	*WithT
	t *testing.T
	client.Client
	namespace  string
	gits       *testenv.GitServer
	repository *testenv.Repository
	source     *sourcev1.GitRepository
	policy     *imagev1.ImagePolicy
	events     *kuberecord.FakeRecorder
	// before, when set, runs ahead of each request to the repository.
	before atomic.Pointer[func(*http.Request)]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	rest := shared.ControlPlane(t).Config()
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, imagev1.AddToScheme, sourcev1.AddToScheme} {
		g.Expect(add(kinds)).To(Succeed())
	}
	mgr, err := ctrl.NewManager(rest, ctrl.Options{
		Scheme:     kinds,
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	w := &world{WithT: g, t: t, Client: mgr.GetClient(), events: kuberecord.NewFakeRecorder(1000)}
	transport := access.NewTransport()
	transport.Proxy = func(request *http.Request) (*url.URL, error) {
		if before := w.before.Load(); before != nil {
			(*before)(request)
		}
		return nil, nil
	}
	reconciler := &Reconciler{
		Events:  &reconcile.Recorder{Kubernetes: w.events, Scheme: kinds},
		Remotes: &git.Opener{Secrets: mgr.GetAPIReader(), Transport: transport, Clouds: &cloud.Logins{}},
		Scratch: func() (string, func(), error) {
			dir, err := os.MkdirTemp(t.TempDir(), "")
			return dir, func() { _ = os.RemoveAll(dir) }, err
		},
	}
	g.Expect(reconciler.AddToManager(mgr)).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	g.Expect(mgr.GetCache().WaitForCacheSync(t.Context())).To(BeTrue())
	w.fill()
	return w
}

// fill makes the namespace, the repository and a policy that has chosen 1.1.0.
func (w *world) fill() {
	w.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "auto-"}}
	w.create(namespace)
	w.namespace = namespace.Name
	var err error
	w.gits, err = testenv.StartGit(w.t.Context())
	w.Expect(err).NotTo(HaveOccurred())
	w.t.Cleanup(w.gits.Stop)
	w.repository, err = w.gits.Repository(w.t.Context(), "fleet")
	w.Expect(err).NotTo(HaveOccurred())
	w.commit(map[string]string{
		"apps/web/web.yaml":      fmt.Sprintf(deployment, w.namespace),
		"apps/web/README.md":     fmt.Sprintf(deployment, w.namespace),
		"apps/api/Kustomization": fmt.Sprintf("newTag: 1.0.0 # {\"$imagepolicy\": \"%s:app:tag\"}\n", w.namespace),
		"broken.yaml":            "a: b: c # {\"$imagepolicy\": \"x:y\"}\n",
	})
	w.source = &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "fleet"}}
	w.source.Spec.URL = w.repository.URL
	w.source.Spec.Interval.Duration = time.Hour
	w.source.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "main"}
	w.create(w.source)
	w.policy = &imagev1.ImagePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
	w.policy.Spec.ImageRepositoryRef.Name = "app"
	w.policy.Spec.Policy.Alphabetical = &imagev1.AlphabeticalPolicy{}
	w.create(w.policy)
	w.choose("1.1.0")
}

func (w *world) create(obj client.Object) {
	w.t.Helper()
	w.Expect(w.Create(w.t.Context(), obj)).To(Succeed())
}

func (w *world) commit(files map[string]string) string {
	w.t.Helper()
	commit, err := w.repository.Commit(w.t.Context(), "By hand", files)
	w.Expect(err).NotTo(HaveOccurred())
	return commit
}

// choose lets the policy choose another tag.
func (w *world) choose(tag string) {
	w.t.Helper()
	w.policy.Status.LatestRef = &imagev1.ImageRef{Name: "registry.example.com/app", Tag: tag}
	w.Expect(w.Status().Update(w.t.Context(), w.policy)).To(Succeed())
}

// automate makes an automation of the repository.
func (w *world) automate(change func(*imagev1.ImageUpdateAutomationSpec)) *imagev1.ImageUpdateAutomation {
	w.t.Helper()
	obj := &imagev1.ImageUpdateAutomation{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "update-"}}
	obj.Spec.SourceRef = imagev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "fleet"}
	obj.Spec.Interval.Duration = time.Hour
	obj.Spec.GitSpec = &imagev1.GitSpec{Commit: imagev1.CommitSpec{
		Author:          imagev1.CommitUser{Name: "Robot", Email: "robot@example.com"},
		MessageTemplate: "Update image: {{range .Updated.Images}}{{println .}}{{end}}",
	}}
	if change != nil {
		change(&obj.Spec)
	}
	w.create(obj)
	return obj
}

// ready waits for the Ready condition to say this, of the newest spec.
func (w *world) ready(obj *imagev1.ImageUpdateAutomation, status, reason, message string) {
	w.t.Helper()
	w.Eventually(func() (string, error) {
		if err := w.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return "", err
		}
		ready := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReadyCondition)
		if ready == nil || ready.ObservedGeneration != obj.Generation {
			return "not looked at", nil
		}
		return fmt.Sprintf("%s %s %s", ready.Status, ready.Reason, ready.Message), nil
	}, within, "50ms").Should(And(HavePrefix(status+" "+reason+" "), ContainSubstring(message)))
}

// ask asks for a run and waits until it is done.
func (w *world) ask(obj *imagev1.ImageUpdateAutomation) {
	w.t.Helper()
	request := fmt.Sprint(time.Now().UnixNano())
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, request)
	w.Expect(w.Patch(w.t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
	w.Eventually(func() (string, error) {
		err := w.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj)
		return obj.Status.LastHandledReconcileAt, err
	}, within, "50ms").Should(Equal(request))
}

func (w *world) head(branch string) string {
	w.t.Helper()
	head, err := w.repository.On(branch).Head(w.t.Context())
	w.Expect(err).NotTo(HaveOccurred())
	return head
}

// git runs git on the repository and returns what it prints.
func (w *world) git(args ...string) string {
	w.t.Helper()
	output, err := w.tryGit(args...)
	w.Expect(err).NotTo(HaveOccurred(), output)
	return output
}

func (w *world) tryGit(args ...string) (string, error) {
	command := exec.CommandContext(w.t.Context(), "git", append([]string{"-C", w.repository.Dir}, args...)...)
	output, err := command.CombinedOutput()
	return string(output), err
}

func TestAChoiceBecomesOneCommit(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	obj := w.automate(nil)
	w.ready(obj, "True", "Succeeded", "repository up-to-date; passed over: broken.yaml: it does not parse")
	after := w.head("main")
	w.Expect(w.git("log", "--format=%P %an <%ae> %s%n%b", "-1", "main")).To(Equal(
		before + " Robot <robot@example.com> Update image: registry.example.com/app:1.1.0\n\n"))
	w.Expect(w.git("diff", "--name-only", before, after)).To(Equal("apps/api/Kustomization\napps/web/web.yaml\n"))
	w.Expect(w.git("show", "main:apps/web/web.yaml")).To(Equal(strings.NewReplacer("app:1.0.0", "app:1.1.0", `"1.0.0"`, `"1.1.0"`).Replace(fmt.Sprintf(deployment, w.namespace))))
	w.Expect(w.git("show", "main:apps/api/Kustomization")).To(HavePrefix("newTag: 1.1.0 # "))
	w.Expect(obj.Status.LastPushCommit).To(Equal(after))
	w.Expect(obj.Status.ObservedSourceRevision).To(Equal("main@sha1:" + after))
	w.Expect(obj.Status.ObservedPolicies).To(HaveKeyWithValue("app", imagev1.ImageRef{Name: "registry.example.com/app", Tag: "1.1.0"}))
	w.Expect(w.events.Events).To(Receive(ContainSubstring("pushed commit '" + after + "' to [\"main\"]")))

	downloads := w.repository.Requests().UploadPack
	w.ask(obj)
	w.Expect(w.head("main")).To(Equal(after), "no commit in answer to its own")
	w.Expect(w.repository.Requests().UploadPack).To(Equal(downloads), "nothing is checked out when nothing has changed")

	w.choose("1.2.0")
	w.Eventually(func() string { return w.git("log", "--format=%s", "-1", "main") }, within).Should(Equal("Update image: registry.example.com/app:1.2.0\n"))
	w.commit(map[string]string{"other.txt": "x"})
	w.ask(obj)
	w.Expect(w.git("rev-list", "--count", "main")).To(Equal("4\n"), "two by hand, two by the automation")
}

func TestUpdatePathLimits(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.Update = &imagev1.UpdateStrategy{Path: "./apps/web"}
	})
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.git("diff", "--name-only", before, "main")).To(Equal("apps/web/web.yaml\n"))
	w.ready(w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) { spec.Update = &imagev1.UpdateStrategy{Path: "nope"} }),
		"False", "UpdateFailed", `spec.update.path "nope"`)
}

func TestPoliciesThatAreNotSelectedAreLeft(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	green := func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.PolicySelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "green"}}
	}
	w.ready(w.automate(green), "True", "Succeeded", "repository up-to-date")
	w.Expect(w.head("main")).To(Equal(before))

	side := &imagev1.ImagePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "side", Labels: map[string]string{"team": "green"}}, Spec: w.policy.Spec}
	w.create(side)
	side.Status.LatestRef = &imagev1.ImageRef{Name: "registry.example.com/side", Tag: "2.0.0", Digest: "sha256:0123"}
	w.Expect(w.Status().Update(t.Context(), side)).To(Succeed())
	both := fmt.Sprintf(deployment, w.namespace) + "side: old:1 # {\"$imagepolicy\": \"%[1]s:side\"}\n"
	w.commit(map[string]string{"apps/web/web.yaml": fmt.Sprintf(both, w.namespace)})
	obj := w.automate(green)
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.git("show", "main:apps/web/web.yaml")).To(Equal(strings.Replace(fmt.Sprintf(both, w.namespace), "old:1", "registry.example.com/side:2.0.0@sha256:0123", 1)))
	w.Expect(obj.Status.ObservedPolicies).To(HaveLen(1))
}

// An automation of another namespace pushes with the login of the repository, unless
// the hub forbids that.
func TestASourceOfAnotherNamespace(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	elsewhere := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "auto-"}}
	w.create(elsewhere)
	source := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere.Name, Name: "theirs"}, Spec: w.source.Spec}
	w.create(source)
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.SourceRef.Namespace, spec.SourceRef.Name, spec.Suspend = elsewhere.Name, "theirs", true
	})
	r := &Reconciler{Client: w.Client, Live: w.Client, NoCrossNamespaceRefs: true}
	w.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(
		"spec.sourceRef: GitRepository " + elsewhere.Name + "/theirs is in another namespace, which --no-cross-namespace-refs forbids"))
	w.Expect(w.head("main")).To(Equal(before))

	w.Expect(w.Patch(t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":false}}`)))).To(Succeed())
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.head("main")).NotTo(Equal(before))
}

func TestABranchOfItsOwnIsReset(t *testing.T) {
	w := newWorld(t)
	main := w.head("main")
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) { spec.GitSpec.Push = &imagev1.PushSpec{Branch: "images"} })
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.head("main")).To(Equal(main))
	first := w.head("images")
	w.Expect(w.git("rev-parse", "images^")).To(Equal(main + "\n"))
	w.ask(obj)
	w.Expect(w.head("images")).To(Equal(first))

	main = w.commit(map[string]string{"other.txt": "x"})
	w.ask(obj)
	w.Expect(w.git("rev-parse", "images^")).To(Equal(main+"\n"), "it follows what is checked out")
}

func TestARefspecIsPushedBesides(t *testing.T) {
	w := newWorld(t)
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: "main", Refspec: "refs/heads/main:refs/for/review"}
	})
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.git("rev-parse", "refs/for/review")).To(Equal(w.head("main") + "\n"))
	for refspec, message := range map[string]string{"nothing:main": `begins with "nothing"`, "main:": "behind the colon", "refs/heads/*:refs/heads/*": "patterns"} {
		w.ready(w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) { spec.GitSpec.Push = &imagev1.PushSpec{Refspec: refspec} }),
			"False", "InvalidSourceConfiguration", message)
	}
}

// A mirror of the checkout's branch does not get a commit that goes to another one.
func TestARefspecBeginsWithTheBranchOfTheCommit(t *testing.T) {
	w := newWorld(t)
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: "images", Refspec: "refs/heads/main:refs/heads/mirror"}
	})
	w.ready(obj, "False", "InvalidSourceConfiguration", `spec.git.push.refspec begins with "refs/heads/main": the commit is made on "images"`)
	w.Expect(w.git("for-each-ref", "--format=%(refname)")).To(Equal("refs/heads/main\n"))

	obj = w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: "images", Refspec: "refs/heads/images:refs/heads/mirror"}
	})
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.head("mirror")).To(Equal(w.head("images")))
}

// What a refspec leads to is never reset, nor is the branch of the checkout where a
// tag decides what is checked out: people's commits would be lost.
func TestNoCommitsAreLost(t *testing.T) {
	for name, change := range map[string]func(*imagev1.GitSpec){
		"a branch behind a refspec": func(spec *imagev1.GitSpec) { spec.Push = &imagev1.PushSpec{Refspec: "HEAD:refs/heads/release"} },
		"beside the checkout's":     func(spec *imagev1.GitSpec) { spec.Push = &imagev1.PushSpec{Branch: "main", Refspec: "HEAD:release"} },
		"a tag":                     func(spec *imagev1.GitSpec) { spec.Push = &imagev1.PushSpec{Refspec: "HEAD:refs/tags/release"} },
		"the checkout's own branch": func(spec *imagev1.GitSpec) {
			spec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "release", SemVer: "1.x"}}
			spec.Push = &imagev1.PushSpec{Branch: "release"}
		},
		"the checkout's own branch, where none is named": func(spec *imagev1.GitSpec) {
			spec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "release", SemVer: "1.x"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.git("tag", "v1.2.0", "main")
			w.commit(map[string]string{"theirs.txt": "x"})
			theirs := w.head("main")
			w.git("update-ref", "refs/heads/release", theirs)
			w.git("update-ref", "refs/tags/release", theirs)
			w.commit(map[string]string{"other.txt": "x"})
			main := w.head("main")
			obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) { change(spec.GitSpec) })
			w.ready(obj, "False", "GitOperationFailed", "has commits that are not in ")
			for reference, want := range map[string]string{"refs/heads/release": theirs, "refs/tags/release": theirs, "refs/heads/main": main} {
				w.Expect(w.git("rev-parse", reference)).To(Equal(want + "\n"))
			}
		})
	}
}

// A server that does not take all or none may move one reference and refuse another:
// that is said, and tried, until it is taken.
func TestAReferenceThatIsRefusedIsSaid(t *testing.T) {
	for refused, push := range map[string]*imagev1.PushSpec{
		"release": {Branch: "main", Refspec: "HEAD:release"},
		"aside":   {Branch: "aside", Refspec: "HEAD:main"},
		"main":    {Branch: "aside", Refspec: "HEAD:main"},
	} {
		t.Run(refused+" of "+push.Branch+" and "+push.Refspec, func(t *testing.T) {
			w := newWorld(t)
			w.git("config", "receive.advertiseAtomic", "false")
			w.hook("update", `[ "$1" != refs/heads/`+refused+` ]`)
			before := w.head("main")
			obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) { spec.GitSpec.Push = push })
			want := "refuses the push: command error on refs/heads/" + refused + ": hook declined"
			w.ready(obj, "False", "GitOperationFailed", want)
			w.ask(obj)
			w.ready(obj, "False", "GitOperationFailed", want)
			w.Expect(w.head("main")).To(Equal(before))

			w.hook("update", "exit 0")
			w.ask(obj)
			w.ready(obj, "True", "Succeeded", "repository up-to-date")
			w.Expect(w.git("show", "main:apps/web/web.yaml")).To(ContainSubstring("app:1.1.0"))
			other := map[bool]string{true: "release", false: "aside"}[push.Branch == "main"]
			w.Expect(w.head(other)).To(Equal(w.head("main")))
		})
	}
}

// What a spec asks for is done also where it could not be begun at first, and nothing
// has changed since but that.
func TestASpecThatWasStalledIsRun(t *testing.T) {
	w := newWorld(t)
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.Update = &imagev1.UpdateStrategy{Strategy: "Setters", Path: "apps/api"}
	})
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.source.Spec.Reference = &sourcev1.GitRepositoryRef{Tag: "v1"}
	w.Expect(w.Update(w.t.Context(), w.source)).To(Succeed())
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"update":{"path":"apps/web"}}}`))
	w.Expect(w.Patch(w.t.Context(), obj, patch)).To(Succeed())
	w.ready(obj, "False", "InvalidSourceConfiguration", "spec.git.push is not set")

	w.source.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "main"}
	w.Expect(w.Update(w.t.Context(), w.source)).To(Succeed())
	w.ask(obj)
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.git("show", "main:apps/web/web.yaml")).To(ContainSubstring("app:1.1.0"))
}

// A few objects of Git make up millions of files, and a few bytes of YAML millions of
// values.
func TestCommitsThatAreBombs(t *testing.T) {
	w := newWorld(t)
	w.commit(map[string]string{"apps/web/values.yaml": "x: [" + strings.Repeat("a,", 300_000) + "] # {\"$imagepolicy\": \"x:y\"}\n"})
	obj := w.automate(nil)
	w.ready(obj, "True", "Succeeded", "")
	w.Expect(obj.Status.Skipped).To(ContainElement("apps/web/values.yaml: it has more than 250000 values"))

	bomb := strings.TrimSpace(w.git("rev-parse", "main:apps/api"))
	for range 7 {
		bomb = w.mktree(slices.Repeat([]string{bomb}, 10), "")
	}
	large := w.mktree(slices.Repeat([]string{w.mktree(nil, "")}, 20_000), strings.Repeat("d", 2000))
	large = w.mktree([]string{large, strings.TrimSpace(w.git("rev-parse", "main:apps"))}, "")
	for branch, c := range map[string]struct{ tree, want string }{
		"bomb":  {bomb, "it has more than 500000 files and directories"},
		"large": {large, "the commit's directories have more than 33554432 bytes"},
	} {
		commit := strings.TrimSpace(w.git("-c", "user.name=x", "-c", "user.email=x@example.com", "commit-tree", "-m", "bomb", c.tree))
		w.git("update-ref", "refs/heads/"+branch, commit)
		w.choose("1.2.0")
		obj = w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: branch}}
		})
		w.ready(obj, "False", "UpdateFailed", c.want)
		w.Expect(w.head(branch)).To(Equal(commit))
	}
}

// mktree makes a tree of trees, by their numbers and the rest of their names.
func (w *world) mktree(trees []string, rest string) string {
	w.t.Helper()
	var listing strings.Builder
	for i, tree := range trees {
		fmt.Fprintf(&listing, "040000 tree %s\t%d%s\n", tree, i, rest)
	}
	command := exec.CommandContext(w.t.Context(), "git", "-C", w.repository.Dir, "mktree")
	command.Stdin = strings.NewReader(listing.String())
	made, err := command.Output()
	w.Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(string(made))
}

func TestPushOptionsReachTheServer(t *testing.T) {
	w := newWorld(t)
	w.git("config", "receive.advertisePushOptions", "true")
	seen := filepath.Join(w.t.TempDir(), "options")
	w.hook("pre-receive", `echo "$GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1" > `+seen)
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: "images", Options: map[string]string{"merge_request.create": "", "ci.skip": "true"}}
	})
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(os.ReadFile(seen)).To(BeEquivalentTo("2 ci.skip=true merge_request.create=\n"))
}

// hook makes a hook of the repository.
func (w *world) hook(name, script string) {
	w.t.Helper()
	hooks := filepath.Join(w.repository.Dir, "hooks")
	w.Expect(os.MkdirAll(hooks, 0o700)).To(Succeed())
	w.Expect(os.WriteFile(filepath.Join(hooks, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700)).To(Succeed())
}

func TestALostRaceBeginsAnewFromTheNewHead(t *testing.T) {
	for _, at := range []string{"service=git-receive-pack", "/git-receive-pack"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			var once sync.Once
			before := func(request *http.Request) {
				if strings.HasSuffix(request.URL.String(), at) {
					once.Do(func() { w.commit(map[string]string{"other.txt": "x"}) })
				}
			}
			w.before.Store(&before)
			w.ready(w.automate(nil), "True", "Succeeded", "repository up-to-date")
			w.Expect(w.git("log", "--format=%an %s", "main")).To(Equal(
				"Robot Update image: registry.example.com/app:1.1.0\nTestenv By hand\nTestenv By hand\n"))
		})
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	for name, tc := range map[string]struct {
		reason, message string
		change          func(*imagev1.ImageUpdateAutomationSpec)
	}{
		"no git": {"InvalidSourceConfiguration", "spec.git is not set", func(spec *imagev1.ImageUpdateAutomationSpec) { spec.GitSpec = nil }},
		"a template that does not compile": {"UpdateFailed", "spec.git.commit.messageTemplate", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Commit.MessageTemplate = "{{"
		}},
		"a template of an old version": {"RemovedTemplateField", "use .Updated, or .Changed.FileChanges", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Commit.MessageTemplate = "{{range .Changed.ImageResult.Images}}{{.}}{{end}}"
		}},
		"a template that fails": {"UpdateFailed", "spec.git.commit.messageTemplate", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Commit.MessageTemplate = "{{index .Changed.Changes 99}}"
		}},
		"a source of another group": {"UnsupportedField", "spec.sourceRef.apiVersion: example.com/v1 has no sources", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.SourceRef.APIVersion = "example.com/v1"
		}},
		"a source that is not there": {"SourceManagerFailed", "no GitRepository", func(spec *imagev1.ImageUpdateAutomationSpec) { spec.SourceRef.Name = "nope" }},
		"a branch that is not there": {"GitOperationFailed", "spec.git.checkout.ref.branch", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "nope"}}
		}},
		"a tag without a branch to push to": {"InvalidSourceConfiguration", "spec.git.push.branch", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Tag: "v1"}}
		}},
		"a selector that does not parse": {"InvalidPolicySelector", "spec.policySelector", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.PolicySelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
		}},
		"a key that is not there": {"AuthenticationFailed", "spec.git.commit.signingKey.secretRef", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Commit.SigningKey = &imagev1.SigningKey{SecretRef: meta.LocalObjectReference{Name: "nope"}}
		}},
		"options that the server does not take": {"GitOperationFailed", "spec.git.push.options", func(spec *imagev1.ImageUpdateAutomationSpec) {
			spec.GitSpec.Push = &imagev1.PushSpec{Branch: "main", Options: map[string]string{"a": "b"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w.ready(w.automate(tc.change), "False", tc.reason, tc.message)
		})
	}
	w.Expect(w.head("main")).To(Equal(before))
}

func TestAProtectedBranchStaysAsItIs(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	w.hook("pre-receive", "echo protected >&2; exit 1")
	w.ready(w.automate(nil), "False", "GitOperationFailed", "refuses the push: command error on refs/heads/main: pre-receive hook declined")
	w.Expect(w.head("main")).To(Equal(before))
}

func TestAReadOnlyTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	before := w.head("main")
	w.git("config", "http.receivepack", "false")
	w.ready(w.automate(nil), "False", "AuthenticationFailed", "GitRepository "+w.namespace+"/fleet: spec.url "+w.repository.URL+": authentication failed: the remote wants credentials")
	w.Expect(w.head("main")).To(Equal(before))
}

func TestARangeOfVersionsIsCheckedOut(t *testing.T) {
	w := newWorld(t)
	w.git("tag", "v1.2.0", "main")
	tagged := w.head("main")
	w.commit(map[string]string{"other.txt": "x"})
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{SemVer: "1.x"}}
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: "images"}
	})
	w.ready(obj, "True", "Succeeded", "repository up-to-date")
	w.Expect(w.git("rev-parse", "images^")).To(Equal(tagged + "\n"))
	w.Expect(obj.Status.ObservedSourceRevision).To(Equal("v1.2.0@sha1:" + tagged))
	w.ready(w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{SemVer: "9.x"}}
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: "images"}
	}), "False", "GitOperationFailed", `spec.git.checkout.ref.semver "9.x": no tag of`)
}

func TestPushesGoOverSSH(t *testing.T) {
	w := newWorld(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	w.Expect(err).NotTo(HaveOccurred())
	key, err := ssh.NewPublicKey(public)
	w.Expect(err).NotTo(HaveOccurred())
	server, err := w.gits.StartSSH(t.Context(), key)
	w.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	identity, err := ssh.MarshalPrivateKey(private, "")
	w.Expect(err).NotTo(HaveOccurred())
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "key"}, Data: map[string][]byte{
		"identity": pem.EncodeToMemory(identity), "known_hosts": []byte(server.KnownHosts),
	}})
	w.source.Spec.URL, w.source.Spec.SecretRef = server.URL(w.repository), &meta.LocalObjectReference{Name: "key"}
	w.Expect(w.Update(t.Context(), w.source)).To(Succeed())

	w.ready(w.automate(nil), "True", "Succeeded", "repository up-to-date")
	w.Expect(w.git("log", "--format=%an %s", "-1", "main")).To(Equal("Robot Update image: registry.example.com/app:1.1.0\n"))

	before := w.head("main")
	w.hook("pre-receive", "echo protected >&2; exit 1")
	w.choose("1.2.0")
	obj := w.automate(nil)
	w.ready(obj, "False", "GitOperationFailed", "refuses the push: command error on refs/heads/main: pre-receive hook declined")
	w.Expect(w.head("main")).To(Equal(before))
}

func TestSignaturesVerify(t *testing.T) {
	w := newWorld(t)
	home := t.TempDir()
	t.Setenv("GNUPGHOME", home)
	w.Expect(os.Chmod(home, 0o700)).To(Succeed()) //nolint:gosec // a directory of this user alone
	public, private := pgpPair(w, "secret")
	command := exec.CommandContext(t.Context(), "gpg", "--batch", "--quiet", "--import")
	command.Stdin = bytes.NewReader(public)
	output, err := command.CombinedOutput()
	w.Expect(err).NotTo(HaveOccurred(), string(output))
	w.sign("pgp", map[string][]byte{"git.asc": private, "passphrase": []byte("secret")}, "")
	w.Expect(w.tryGit("verify-commit", "pgp")).To(ContainSubstring("Good signature"))

	allowed := filepath.Join(home, "allowed")
	line, identity := sshPair(w, "hunter2")
	w.Expect(os.WriteFile(allowed, []byte("robot@example.com "+line), 0o600)).To(Succeed())
	w.sign("ssh", map[string][]byte{"identity": identity, "password": []byte("hunter2")}, imagev1.SigningKeyTypeSSH)
	w.Expect(w.tryGit("-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "ssh")).To(ContainSubstring("Good \"git\" signature"))

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "wrong"}, Data: map[string][]byte{"git.asc": private, "passphrase": []byte("wrong-one")}}
	w.create(secret)
	obj := w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Commit.SigningKey = &imagev1.SigningKey{SecretRef: meta.LocalObjectReference{Name: "wrong"}}
	})
	w.ready(obj, "False", "AuthenticationFailed", "passphrase does not open")
	w.Expect(apimeta.FindStatusCondition(obj.Status.Conditions, "Ready").Message).NotTo(ContainSubstring("wrong-one"))
}

// sign lets an automation sign its commits on a branch with the key.
func (w *world) sign(branch string, key map[string][]byte, kind imagev1.SigningKeyType) {
	w.t.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: branch}, Data: key})
	w.ready(w.automate(func(spec *imagev1.ImageUpdateAutomationSpec) {
		spec.GitSpec.Push = &imagev1.PushSpec{Branch: branch}
		spec.GitSpec.Commit.SigningKey = &imagev1.SigningKey{SecretRef: meta.LocalObjectReference{Name: branch}, Type: kind}
	}), "True", "Succeeded", "repository up-to-date")
}

func pgpPair(w *world, passphrase string) (public, private []byte) {
	w.t.Helper()
	entity, err := openpgp.NewEntity("Robot", "", "robot@example.com", nil)
	w.Expect(err).NotTo(HaveOccurred())
	armored := func(kind string, serialize func(*bytes.Buffer) error) []byte {
		var content, text bytes.Buffer
		w.Expect(serialize(&content)).To(Succeed())
		out, err := armor.Encode(&text, kind, nil)
		w.Expect(err).NotTo(HaveOccurred())
		_, err = out.Write(content.Bytes())
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(out.Close()).To(Succeed())
		return text.Bytes()
	}
	public = armored(openpgp.PublicKeyType, func(b *bytes.Buffer) error { return entity.Serialize(b) })
	w.Expect(entity.EncryptPrivateKeys([]byte(passphrase), nil)).To(Succeed())
	private = armored(openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return entity.SerializePrivateWithoutSigning(b, nil) })
	return public, private
}

func sshPair(w *world, password string) (authorized string, identity []byte) {
	w.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	w.Expect(err).NotTo(HaveOccurred())
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(password))
	w.Expect(err).NotTo(HaveOccurred())
	key, err := ssh.NewPublicKey(public)
	w.Expect(err).NotTo(HaveOccurred())
	return string(ssh.MarshalAuthorizedKey(key)), pem.EncodeToMemory(block)
}
