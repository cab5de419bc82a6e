package render

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
)

// overNetwork matches what kustomize fetches over the network: URLs, and the
// spellings of Git repositories that it knows.
var overNetwork = regexp.MustCompile(`(?i)^\s*(git::|(https?|ssh|file):|[a-z][a-z0-9-]*@|github\.com[/:])`)

// pathFields are the fields of a kustomization, and of the built-in generators
// and transformers, that name files and directories.
var pathFields = []string{
	"resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators",
	"path", "paths", "files", "env", "envs", "patchesStrategicMerge", "targetFilePath",
}

// configFields name files that say in turn which files are read.
var configFields = []string{"generators", "transformers", "validators"}

// sealedFields name files whose content becomes part of objects, and which may
// be encrypted as a whole.
var sealedFields = []string{"path", "files", "env", "envs", "patchesStrategicMerge"}

// formatEndings are those that say how a file is encrypted.
var formatEndings = []string{".yaml", ".yml", ".json", ".env", ".ini"}

// textFields hold names and values of labels and annotations, never paths.
var textFields = []string{"commonLabels", "commonAnnotations", "labels", "annotations", "pairs"}

// checkKustomization refuses a kustomization file that reaches out of the
// artifact by a path, or over the network where that was not fetched before.
// kustomize has no switch for the latter, and takes the former for a path inside.
func (t *tree) checkKustomization(dir string, content []byte) error {
	var k types.Kustomization
	if err := k.Unmarshal(content); err != nil {
		return err
	}
	k.FixKustomization()
	t.below(dir, slices.Concat(k.Resources, k.Components))
	t.objects += len(k.ConfigMapGenerator) + len(k.SecretGenerator)
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		return fmt.Errorf("helmCharts: charts are not rendered by a Kustomization: use a HelmRelease")
	}
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	return t.checkFields(dir, "", fields)
}

// checkFields looks at the paths anywhere below the value of a field.
func (t *tree) checkFields(dir, field string, value any) error {
	if isOne(textFields, field) {
		return nil
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range sortedKeys(value) {
			if err := t.checkFields(dir, name, value[name]); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range value {
			if err := t.checkFields(dir, field, item); err != nil {
				return err
			}
		}
	case string:
		if err := t.checkPath(dir, field, value); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	return nil
}

// isOne says whether a field is one of those named. Generators and transformers
// read theirs with encoding/json, for which "Files" is "files".
func isOne(names []string, field string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, field) })
}

func (t *tree) checkPath(dir, field, value string) error {
	if !isOne(pathFields, field) {
		return nil
	}
	isConfig := isOne(configFields, field)
	if isConfig {
		if inline, err := t.checkInline(dir, field, value); inline {
			return err
		}
	}
	target := value
	if _, file, named := strings.Cut(value, "="); named && strings.EqualFold(field, "files") {
		target = file
	}
	if overNetwork.MatchString(value) || overNetwork.MatchString(target) {
		return t.checkRemote(field, value)
	}
	if isInline(target) {
		return nil
	}
	if isOne(sealedFields, field) {
		t.sealed[clean(path.Join(dir, target))] = sealedAs(field, value, target)
	}
	if err := t.checkInside(dir, field, target); err != nil || strings.EqualFold(field, "path") {
		return err
	}
	if isConfig {
		return t.checkConfigFile(dir, target)
	}
	return nil
}

// checkInline looks into a configuration of generators or transformers, and says
// whether the field's value is one rather than the path of a file.
func (t *tree) checkInline(dir, field, value string) (inline bool, err error) {
	if err := haveAtMost(longValues, field, []byte(value)); err != nil {
		return true, err
	}
	found, err := configs([]byte(value))
	if err != nil {
		return isInline(value), err
	}
	t.objects += len(found)
	return len(found) > 0, t.checkConfigs(dir, found)
}

// sealedAs is the name whose ending says in what format a file is encrypted, as in
// Flux: that of the key which the file becomes, and dotenv for variables in a file of
// any other ending.
func sealedAs(field, value, target string) string {
	switch {
	case strings.EqualFold(field, "files"):
		if key, _, named := strings.Cut(value, "="); named {
			return key
		}
	case isOne([]string{"env", "envs"}, field):
		if !slices.Contains(formatEndings, path.Ext(target)) {
			return target + ".env"
		}
	}
	return target
}

// isInline says whether a value is a patch itself rather than the path of one.
func isInline(value string) bool {
	return strings.Contains(value, "\n") || strings.HasPrefix(strings.TrimSpace(value), "{")
}

// checkConfigFile looks into a file that configures generators or transformers,
// which is not decrypted: kustomize has to read what was looked at. A directory in
// its place would have to be built to know what is in it.
func (t *tree) checkConfigFile(dir, target string) error {
	name := clean(path.Join(dir, target))
	if size, ok := t.larger[name]; ok {
		return tooLarge(target, size)
	}
	content, ok := t.content(name)
	if !ok {
		return fmt.Errorf("%q is not a file of the artifact", abbreviated(target))
	}
	t.configs[name] = true
	if err := t.limitSettings(target, content); err != nil {
		return err
	}
	found, err := configs(content)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return t.checkConfigs(dir, found)
}

func (t *tree) checkConfigs(dir string, configs []map[string]any) error {
	for _, config := range configs {
		if err := t.checkFields(dir, "", config); err != nil {
			return fmt.Errorf("%v: %w", config["kind"], err)
		}
	}
	return nil
}

// configs reads the configuration of generators and transformers with
// kustomize's own parser, so that both see the same.
func configs(content []byte) ([]map[string]any, error) {
	nodes, err := parsed(content)
	if err != nil {
		return nil, err
	}
	var found []map[string]any
	for _, node := range nodes {
		fields, err := node.Map()
		if err != nil {
			return nil, err
		}
		found = append(found, fields)
	}
	return found, nil
}

func sortedKeys(fields map[string]any) []string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// abbreviated is a value from a file, short enough for a message.
func abbreviated(value string) string {
	const most = 200
	if len(value) > most {
		return value[:most] + "..."
	}
	return value
}
