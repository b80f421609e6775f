"""The torch side of latedge: a source model goes in, portable and engine bundles come out."""
