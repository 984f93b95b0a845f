# Names and tags of everything, so that they are made in one place.
locals {
  base   = "${var.name}-${var.environment}"
  suffix = substr(sha1("${var.subscription_id}/${local.base}"), 0, 5)

  # Only lowercase letters and digits, 24 at most.
  accounts = {
    for kind, short in {
      lake        = "lake"
      registry    = "reg"
      checkpoints = "ckpt"
      site        = "site"
      learning    = "ml"
    } : kind => "${var.name}${var.environment}${short}${local.suffix}"
  }
}
