package helm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// defaultValuesKey of a ConfigMap or Secret.
	defaultValuesKey = "values.yaml"
	// rememberedConfigs is how many digests of values are kept.
	rememberedConfigs = 8192
)

// composition is what values are composed of.
type composition struct {
	namespace string
	// parts are those of spec.valuesFrom that were found, in their order.
	parts []part
	// own is spec.values.
	own []byte
	// all is the outcome, once it was asked for.
	all map[string]any
}

// part is the text that one reference stands for.
type part struct {
	ref   helmv2.ValuesReference
	text  string
	index int
}

// gather reads what the spec names of values.
func (r *Reconciler) gather(ctx context.Context, obj *helmv2.HelmRelease) (*composition, error) {
	made := &composition{namespace: obj.Namespace}
	for i, ref := range obj.Spec.ValuesFrom {
		text, found, err := r.valueText(ctx, obj.Namespace, ref)
		if err != nil {
			return nil, reconcile.Fail(valuesReason, fmt.Errorf("spec.valuesFrom[%d]: %w", i, err))
		}
		if found {
			made.parts = append(made.parts, part{ref: ref, text: text, index: i})
		}
	}
	if obj.Spec.Values != nil {
		made.own = obj.Spec.Values.Raw
	}
	return made, nil
}

// configDigest is the digest of the values. It composes them only where that was
// never done of the same texts.
func (r *Reconciler) configDigest(of *composition) (string, error) {
	key := of.key()
	if known, ok := r.configs.Get(key); ok {
		return known, nil
	}
	all, err := of.values()
	if err != nil {
		return "", err
	}
	made, err := release.ConfigDigest(all)
	if err != nil {
		return "", reconcile.Fail(valuesReason, err)
	}
	r.configs.Add(key, made)
	return made, nil
}

// compositionKey stands for all that makes a difference to the outcome.
type compositionKey [sha256.Size]byte

func (c *composition) key() (key compositionKey) {
	sum := sha256.New()
	for _, part := range c.parts {
		_, _ = fmt.Fprintf(sum, "%q %t %q\n", part.ref.TargetPath, part.ref.Literal, part.text)
	}
	_, _ = sum.Write(c.own)
	sum.Sum(key[:0])
	return key
}

// values composes the values: those of valuesFrom, each laid over the ones before
// it, then spec.values, and above all of them single values for their paths. They
// are not to be written to.
func (c *composition) values() (map[string]any, error) {
	if c.all != nil {
		return c.all, nil
	}
	all := map[string]any{}
	var paths []part
	for _, part := range c.parts {
		if part.ref.TargetPath != "" {
			paths = append(paths, part)
			continue
		}
		read, err := chartutil.ReadValues([]byte(part.text))
		if err != nil {
			return nil, reconcile.Fail(valuesReason, fmt.Errorf("spec.valuesFrom[%d]: key %s of %s %s/%s is no YAML of values",
				part.index, cmp.Or(part.ref.ValuesKey, defaultValuesKey), part.ref.Kind, c.namespace, part.ref.Name))
		}
		all = laidOver(all, read)
	}
	if len(c.own) > 0 {
		var own map[string]any
		if err := json.Unmarshal(c.own, &own); err != nil {
			return nil, reconcile.Fail(valuesReason, errors.New("spec.values: it is no object"))
		}
		all = laidOver(all, own)
	}
	for _, one := range paths {
		if err := one.put(all); err != nil {
			return nil, reconcile.Fail(valuesReason, fmt.Errorf("spec.valuesFrom[%d]: %w", one.index, err))
		}
	}
	c.all = all
	return all, nil
}

// put parses the value as helm --set does, or takes it as it is. What the value
// is does not appear in errors: it may be a Secret's.
func (p part) put(into map[string]any) error {
	var err error
	if p.ref.Literal {
		err = strvals.ParseLiteralInto(p.ref.TargetPath+"="+p.text, into)
	} else {
		err = setInto(p.ref.TargetPath, p.text, into)
	}
	if err != nil {
		return fmt.Errorf("the value of key %s of %s %s cannot be set at targetPath %s: its syntax is that of helm --set; literal: true takes it as it is",
			cmp.Or(p.ref.ValuesKey, defaultValuesKey), p.ref.Kind, p.ref.Name, p.ref.TargetPath)
	}
	return nil
}

// mostElements is how many elements all lists may be given by their indexes: Helm
// makes a list as long as any index in it.
const mostElements = 10_000

// indexes finds them in what helm --set takes.
var indexes = regexp.MustCompile(`\[\+?([0-9]+)\]`)

// setInto sets one value. In quotes it stays a string.
func setInto(path, text string, into map[string]any) error {
	elements := 0
	plain := strings.ReplaceAll(path+"="+text, `\`, "") // as Helm reads them
	for _, found := range indexes.FindAllStringSubmatch(plain, -1) {
		index, err := strconv.Atoi(found[1])
		if elements += index; err != nil || index > mostElements || elements > mostElements {
			return fmt.Errorf("indexes of lists add up to more than %d", mostElements)
		}
	}
	for _, quote := range []string{"'", `"`} {
		if len(text) > 1 && text[:1] == quote && text[len(text)-1:] == quote {
			return strvals.ParseIntoString(path+"="+text[1:len(text)-1], into)
		}
	}
	return strvals.ParseInto(path+"="+text, into)
}

// valueText reads one key, past the cache. Not found are objects and keys that
// are optional.
func (r *Reconciler) valueText(ctx context.Context, namespace string, ref helmv2.ValuesReference) (text string, found bool, err error) {
	name := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	key := cmp.Or(ref.ValuesKey, defaultValuesKey)
	switch ref.Kind {
	case kindConfigMap:
		var config corev1.ConfigMap
		if err = r.Live.Get(ctx, name, &config); err == nil {
			text, found = config.Data[key]
		}
	case kindSecret:
		var secret corev1.Secret
		if err = r.Live.Get(ctx, name, &secret); err == nil {
			var raw []byte
			raw, found = secret.Data[key]
			text = string(raw)
		}
	default:
		return "", false, fmt.Errorf("kind %q: want ConfigMap or Secret", ref.Kind)
	}
	switch {
	case apierrors.IsNotFound(err) && ref.Optional:
		return "", false, nil
	case apierrors.IsNotFound(err):
		return "", false, fmt.Errorf("%s '%s' not found", ref.Kind, name)
	case err != nil:
		return "", false, fmt.Errorf("read %s '%s': %w", ref.Kind, name, err)
	case !found && !ref.Optional:
		return "", false, fmt.Errorf("missing key '%s' in %s '%s'", key, ref.Kind, name)
	}
	return text, found, nil
}

// laidOver merges maps deeply; all else of the upper one takes the place of what
// is below it.
func laidOver(under, over map[string]any) map[string]any {
	merged := make(map[string]any, len(under)+len(over))
	for key, value := range under {
		merged[key] = value
	}
	for key, value := range over {
		above, isMap := value.(map[string]any)
		below, wasMap := merged[key].(map[string]any)
		if isMap && wasMap {
			merged[key] = laidOver(below, above)
			continue
		}
		merged[key] = value
	}
	return merged
}
