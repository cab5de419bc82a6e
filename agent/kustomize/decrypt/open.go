package decrypt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	sopsjson "github.com/getsops/sops/v3/stores/json"
	sopsyaml "github.com/getsops/sops/v3/stores/yaml"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	// mostBytes is the largest file that is decrypted.
	mostBytes = 5 << 20
	// mostKeys is how many master keys a file may name: each is tried in turn.
	mostKeys = 100
)

// marker is what a file of the format holds when it is encrypted.
func marker(format formats.Format) string {
	switch format {
	case formats.Yaml:
		return "mac: ENC["
	case formats.Dotenv:
		return "sops_mac=ENC["
	case formats.Ini:
		return "[sops]"
	}
	return `"mac": "ENC[`
}

// formatOf is the format that a name says, as in Flux.
func formatOf(name string) formats.Format {
	if strings.HasSuffix(name, corev1.DockerConfigJsonKey) {
		return formats.Json
	}
	return formats.FormatForPath(name)
}

// Sealed says whether a file is encrypted in the format that its name says.
func (k *Keys) Sealed(name string, content []byte) bool {
	return bytes.Contains(content, []byte(marker(formatOf(name))))
}

// File returns a file's content, decrypted if it is encrypted in the format that
// its name says.
func (k *Keys) File(ctx context.Context, name string, content []byte) ([]byte, error) {
	if !k.Sealed(name, content) {
		return content, nil
	}
	format := formatOf(name)
	return k.open(ctx, content, format, format)
}

// Object decrypts an object that is encrypted as a whole, and the values of a
// Secret that are.
func (k *Keys) Object(ctx context.Context, obj *unstructured.Unstructured) error {
	if _, encrypted, _ := unstructured.NestedFieldNoCopy(obj.Object, "sops", "mac"); encrypted {
		if err := k.whole(ctx, obj); err != nil {
			return err
		}
	}
	if obj.GetKind() != "Secret" || obj.GetAPIVersion() != "v1" {
		return nil
	}
	data, _, _ := unstructured.NestedMap(obj.Object, "data")
	for _, name := range slices.Sorted(maps.Keys(data)) {
		opened, encrypted, err := k.value(ctx, name, data[name])
		if err != nil {
			return fmt.Errorf("data %s: %w", name, err)
		}
		if encrypted {
			data[name] = opened
			obj.Object["data"] = data
		}
	}
	return nil
}

func (k *Keys) whole(ctx context.Context, obj *unstructured.Unstructured) error {
	raw, err := json.Marshal(obj.Object)
	if err != nil {
		return err
	}
	opened, err := k.open(ctx, raw, formats.Json, formats.Yaml)
	if err != nil {
		return err
	}
	if raw, err = yaml.YAMLToJSON(opened); err != nil {
		return errors.New("what was decrypted is no YAML")
	}
	if err := obj.UnmarshalJSON(raw); err != nil {
		return errors.New("what was decrypted is no Kubernetes object")
	}
	return nil
}

// value is a value of a Secret, decrypted and encoded again, if it is encrypted.
func (k *Keys) value(ctx context.Context, name string, encoded any) (opened string, encrypted bool, err error) {
	text, _ := encoded.(string)
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", false, nil
	}
	for _, format := range []formats.Format{formats.Yaml, formats.Json, formats.Dotenv, formats.Ini} {
		if !bytes.Contains(content, []byte(marker(format))) {
			continue
		}
		plain, err := k.open(ctx, content, format, formatOf(name))
		return base64.StdEncoding.EncodeToString(plain), true, err
	}
	return "", false, nil
}

// store reads and writes a format.
func store(format formats.Format) sops.Store {
	switch format {
	case formats.Yaml:
		return sopsyaml.NewStore(&config.YAMLStoreConfig{})
	case formats.Json:
		return sopsjson.NewStore(&config.JSONStoreConfig{})
	case formats.Dotenv:
		return dotenv.NewStore(&config.DotenvStoreConfig{})
	case formats.Ini:
		return ini.NewStore(&config.INIStoreConfig{})
	}
	return sopsjson.NewBinaryStore(&config.JSONBinaryStoreConfig{})
}

// open decrypts a file of one format and writes it in another. SOPS's parsers
// panic on some files that are within bounds.
func (k *Keys) open(ctx context.Context, content []byte, from, to formats.Format) (plain []byte, err error) {
	defer func() {
		if crash := recover(); crash != nil {
			plain, err = nil, errors.New("SOPS crashed on it")
		}
	}()
	if len(content) > mostBytes {
		return nil, fmt.Errorf("a SOPS file of %d bytes is larger than the limit of %d", len(content), mostBytes)
	}
	if err := bounded(content, from); err != nil {
		return nil, err
	}
	tree, err := store(from).LoadEncryptedFile(content)
	if err != nil {
		return nil, errors.New("it is no SOPS file that can be read")
	}
	named := 0
	for _, group := range tree.Metadata.KeyGroups {
		named += len(group)
	}
	if named > mostKeys {
		return nil, fmt.Errorf("it names %d master keys, more than %d", named, mostKeys)
	}
	services, err := k.asked(ctx)
	if err != nil {
		return nil, err
	}
	key, err := tree.Metadata.GetDataKeyWithKeyServices(services, sops.DefaultDecryptionOrder)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cannot get sops data key: the key services have not answered in time: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get sops data key: %s", reasons(err))
	}
	if _, err := tree.Decrypt(key, aes.NewCipher()); err != nil {
		return nil, errors.New("a value does not decrypt with the data key")
	}
	if plain, err = store(to).EmitPlainFile(tree.Branches); err != nil {
		return nil, errors.New("what was decrypted cannot be written in the format that the name says")
	}
	return plain, nil
}

// momentary is what makes a cloud's error another one at every attempt.
// Conditions repeat errors.
var momentary = regexp.MustCompile(`(?i),? ?(request|trace|correlation) ?id:? [^ ,]+|,? ?timestamp: [-0-9]+ [0-9:]+Z?`)

// reasons is what SOPS says of each key that did not do, in one line.
func reasons(err error) string {
	text := err.Error()
	var user sops.UserError
	if errors.As(err, &user) {
		text = user.UserError()
	}
	var kept []string
	for _, line := range sentences(text) {
		line = strings.Trim(momentary.ReplaceAllString(line, ""), " -")
		if line != "" && !slices.Contains(kept, line) {
			kept = append(kept, line)
		}
	}
	const most = 1000
	line := strings.Join(kept, "; ")
	if len(line) > most {
		line = line[:most] + "..."
	}
	return line
}

// sentences are the lines of a text, with those that SOPS has broken made whole:
// it indents what goes on by a bar.
func sentences(text string) []string {
	var whole []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if rest, goesOn := strings.CutPrefix(line, "|"); goesOn && len(whole) > 0 {
			whole[len(whole)-1] += " " + strings.TrimSpace(rest)
			continue
		}
		whole = append(whole, strings.TrimPrefix(line, "- |"))
	}
	return whole
}
