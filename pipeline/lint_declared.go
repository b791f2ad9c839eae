package pipeline

import (
	"regexp"
	"slices"
	"strings"
)

var imageText = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._:/@-]*[a-zA-Z0-9])?$`)

// lintDeclared notes what a file declares and never uses, and images that are not the same tomorrow.
func lintDeclared(d *decoder, f *fileDecl) {
	for _, p := range f.params {
		if !d.paramsUsed[p.name.text] {
			d.add(unusedParam, p.name.at, "the parameter %s is not used", p.name.text).Suggestion = "remove it, or use ${{ params." + p.name.text + " }}"
		}
	}
	images := []val[string]{f.defaults.image.name}
	for _, s := range slices.Concat(f.stages, f.onFailure, f.always) {
		for _, t := range s.listing() {
			images = append(images, t.image.name)
			for _, s := range t.services {
				images = append(images, s.image)
			}
		}
	}
	for _, image := range images {
		if image.at == nil || image.at.filled || strings.Contains(image.v, "@sha256:") {
			continue
		}
		name := image.v[strings.LastIndexByte(image.v, '/')+1:]
		if _, tag, tagged := strings.Cut(name, ":"); !tagged || tag == "latest" {
			d.add(unpinnedImage, image.at.at, "the image %s is another one tomorrow", shorten(image.v, 60)).
				Suggestion = "name a version, or better a digest: " + shorten(strings.TrimSuffix(image.v, ":latest"), 60) + "@sha256:…"
		}
	}
}
