package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// hubConcurrent is the hub's default --concurrent.
	hubConcurrent = 2
	pulledFiles   = 20
	pulledBytes   = 2_000
)

// pulls are OCIRepositories from nothing to Ready, and a loop that does the same
// work: it pulls, archives, and writes to the hub what the hub writes. Its objects
// are ExternalArtifacts, which have a status like that of sources and no
// controller.
type pulls struct {
	*world
	registry *testenv.Registry
	// base is where the registry is, for the floor.
	base string
	http *http.Client
}

func measurePulls(ctx context.Context, w *world, out io.Writer) error {
	p := &pulls{world: w, registry: testenv.StartRegistry(), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: hubConcurrent}}}
	defer p.registry.Stop()
	p.base = "http://" + p.registry.Host + "/v2/"
	for i := range w.sources {
		files := map[string]string{}
		for j := range pulledFiles {
			files[fmt.Sprintf("%d/%d.yaml", j%3, j)] = random(pulledBytes)
		}
		if _, err := p.registry.Push(appName(i), "latest", files); err != nil {
			return err
		}
	}
	go func() { _ = w.cache.Start(ctx) }() // ends with the program
	if _, err := w.cache.GetInformer(ctx, &sourcev1.OCIRepository{}); err != nil {
		return err
	}
	results, name := &report{}, fmt.Sprintf("%d OCIRepositories to Ready", w.sources)
	for i := range w.pairs {
		m, err := w.run(ctx, step{name, p.floor, p.product, p.clear})
		if err != nil {
			return err
		}
		results.add(name, m)
		fmt.Fprintf(out, "pair %d of %d  floor %6.2fs  product %6.2fs\n", i+1, w.pairs, m.floor.seconds, m.product.seconds)
	}
	return results.print(out, w.peaks())
}

func (p *pulls) repository(i int) *sourcev1.OCIRepository {
	return &sourcev1.OCIRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: appName(i)},
		Spec: sourcev1.OCIRepositorySpec{
			URL: "oci://" + p.registry.Host + "/" + appName(i), Insecure: true, Interval: metav1.Duration{Duration: time.Hour},
		},
	}
}

// product creates the OCIRepositories and waits until all are Ready.
func (p *pulls) product(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	group, creating := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range p.sources {
		group.Go(func() error { return p.hub.Create(creating, p.repository(i)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.await(ctx, p.sources)
}

// await waits until there are so many, and all are Ready.
func (p *pulls) await(ctx context.Context, count int) error {
	return wait.PollUntilContextCancel(ctx, lookInterval, true, func(ctx context.Context) (bool, error) {
		var all sourcev1.OCIRepositoryList
		if err := p.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			return false, err
		}
		for i := range all.Items {
			if !apimeta.IsStatusConditionTrue(all.Items[i].Status.Conditions, meta.ReadyCondition) {
				return false, nil
			}
		}
		return len(all.Items) == count, nil
	})
}

// clear removes what floor and product have made. It is not measured.
func (p *pulls) clear(ctx context.Context) error {
	if err := p.hub.DeleteAllOf(ctx, &sourcev1.OCIRepository{}, client.InNamespace(stack.Namespace)); err != nil {
		return err
	}
	group, clearing := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range p.sources {
		o := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: appName(i)}}
		group.Go(func() error {
			free := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
			return errors.Join(p.hub.Patch(clearing, o, free), p.hub.Delete(clearing, o))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	return p.await(ctx, 0)
}

// floor creates objects and works on them as soon as they are there.
func (p *pulls) floor(ctx context.Context) error {
	dir, err := os.MkdirTemp(p.dir, "floor-*")
	if err != nil {
		return err
	}
	created := make(chan int, p.sources)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(created)
		creators, creating := errgroup.WithContext(ctx)
		creators.SetLimit(parallel)
		for i := range p.sources {
			creators.Go(func() error {
				o := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: appName(i)}}
				err := p.hub.Create(creating, o)
				created <- i
				return err
			})
		}
		return creators.Wait()
	})
	for range hubConcurrent {
		group.Go(func() error {
			for i := range created {
				if err := p.one(ctx, i, filepath.Join(dir, appName(i))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), os.RemoveAll(dir))
}

// one pulls, archives, and writes a finalizer, a status and an event.
func (p *pulls) one(ctx context.Context, i int, dir string) error {
	o := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: appName(i)}}
	finalizer := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"finalizers":[%q]}}`, meta.Finalizer))
	if err := p.hub.Patch(ctx, o, finalizer); err != nil {
		return err
	}
	digest, err := p.pull(ctx, i, filepath.Join(dir, "tree"))
	if err != nil {
		return err
	}
	sum, err := rearchive(filepath.Join(dir, "tree"), filepath.Join(dir, "artifact"))
	if err != nil {
		return err
	}
	made := &meta.Artifact{
		Path: "ocirepository/" + stack.Namespace + "/" + o.Name + "/" + digest + ".tar.gz", URL: p.base, Revision: "latest@" + digest,
		Digest: "sha256:" + sum, LastUpdateTime: metav1.Now(), Metadata: map[string]string{},
	}
	before := o.DeepCopy()
	o.Status.Artifact = made
	for _, condition := range []string{meta.ReadyCondition, "ArtifactInStorage"} {
		apimeta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{
			Type: condition, Status: metav1.ConditionTrue, Reason: meta.SucceededReason, Message: "stored artifact for digest '" + made.Revision + "'",
		})
	}
	if err := p.hub.Status().Patch(ctx, o, client.MergeFrom(before)); err != nil {
		return err
	}
	return p.hub.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: stack.Namespace, GenerateName: o.Name + "."},
		InvolvedObject: corev1.ObjectReference{Kind: sourcev1.ExternalArtifactKind, Namespace: o.Namespace, Name: o.Name, UID: o.UID},
		Reason:         "NewArtifact", Message: "stored artifact with revision '" + made.Revision + "'", Type: corev1.EventTypeNormal,
	})
}

// pull resolves the tag by HEAD and unpacks the first layer into dir.
func (p *pulls) pull(ctx context.Context, i int, dir string) (digest string, err error) {
	manifests := p.base + appName(i) + "/manifests/"
	head, err := p.ask(ctx, http.MethodHead, manifests+"latest")
	if err != nil {
		return "", err
	}
	if err := head.Body.Close(); err != nil {
		return "", err
	}
	digest = head.Header.Get("Docker-Content-Digest")
	answer, err := p.ask(ctx, http.MethodGet, manifests+digest)
	if err != nil {
		return "", err
	}
	var manifest struct {
		Layers []struct {
			Digest string `json:"digest"`
		} `json:"layers"`
	}
	err = json.NewDecoder(answer.Body).Decode(&manifest)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return "", err
	}
	blob, err := p.ask(ctx, http.MethodGet, p.base+appName(i)+"/blobs/"+manifest.Layers[0].Digest)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(blob.Body)
	if err = errors.Join(err, blob.Body.Close()); err != nil {
		return "", err
	}
	if sum := sha256.Sum256(content); "sha256:"+hex.EncodeToString(sum[:]) != manifest.Layers[0].Digest {
		return "", errors.New("the layer has another digest")
	}
	return digest, unpack(content, dir)
}

func (p *pulls) ask(ctx context.Context, method, url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.http.Do(request)
	if err == nil && response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s %s: %s", method, url, response.Status), response.Body.Close())
	}
	return response, err
}

func unpack(content []byte, dir string) error {
	zipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return err
	}
	files := tar.NewReader(zipped)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		content, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return err
		}
	}
}

// rearchive packs the directory into a file that is on disk when it returns, and
// returns the SHA-256 of that.
func rearchive(dir, file string) (sum string, err error) {
	made, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	h := sha256.New()
	zipper := gzip.NewWriter(io.MultiWriter(made, h))
	tarrer := tar.NewWriter(zipper)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := tarrer.WriteHeader(header); err != nil {
			return err
		}
		_, err = tarrer.Write(content)
		return err
	})
	if err = errors.Join(err, tarrer.Close(), zipper.Close(), made.Sync()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
