# Who the programs are, and what each may do: one identity for each program, one role for each thing it
# does, on the hub or container where it does it. Conditions narrow roles to folders.
locals {
  programs = merge(
    {
      host    = "scores events"
      trainer = "retrains and publishes to shadow"
      keeper  = "compacts the lake and removes old days"
      devices = "gives enrolled devices rights on the registry"
    },
    var.has_online_endpoint ? { score = "answers the model endpoint" } : {},
  )

  blob = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
  path = "@Resource[${local.blob}:path]"

  # A condition lets every action pass that it does not name.
  writes  = "!(ActionMatches{'${local.blob}/write'}) AND !(ActionMatches{'${local.blob}/add/action'})"
  deletes = "!(ActionMatches{'${local.blob}/delete'}) AND !(ActionMatches{'${local.blob}/move/action'})"

  conditions = {
    # Reads everything, writes reports, deletes nothing.
    reports = "((${local.writes}) OR (${local.path} StringLike 'fleet/*')) AND (${local.deletes})"
    # Reads everything, writes everything but reports and roots of trust, deletes nothing.
    publish = "((${local.writes}) OR (${local.path} StringNotLike 'fleet/*' AND ${local.path} StringNotLike 'trust/*')) AND (${local.deletes})"
    # Reads and writes everything, deletes nothing.
    keeps = "(${local.deletes})"
    # Reads everything, writes datasets, deletes nothing.
    datasets = "((${local.writes}) OR (${local.path} StringLike '_datasets/*')) AND (${local.deletes})"
    # Reads everything, writes datasets and what people say of verdicts, deletes nothing.
    labels = "((${local.writes}) OR (${local.path} StringLike '_labels/*' OR ${local.path} StringLike '_datasets/*')) AND (${local.deletes})"
    # Reads everything, writes and deletes whatever is no dataset.
    rows = "((${local.writes} AND ${local.deletes}) OR (${local.path} StringNotLike '_datasets/*'))"
  }

  receiver          = "Azure Event Hubs Data Receiver"
  sender            = "Azure Event Hubs Data Sender"
  contributor       = "Storage Blob Data Contributor"
  reader_of_secrets = "Key Vault Secrets User"

  # One secret each, and not the vault.
  retrainer_key = "${var.vault_id}/secrets/${var.retrainer_key_secret}"
  promoter_key  = "${var.vault_id}/secrets/${var.promoter_key_secret}"

  of_programs = merge(
    {
      host-events       = { who = "host", role = local.receiver, scope = var.hub_ids["events"], condition = null }
      host-verdicts     = { who = "host", role = local.sender, scope = var.hub_ids["verdicts"], condition = null }
      host-dead-letters = { who = "host", role = local.sender, scope = var.hub_ids["dead-letters"], condition = null }
      host-alerts       = { who = "host", role = local.sender, scope = var.hub_ids["alerts"], condition = null }
      host-checkpoints  = { who = "host", role = local.contributor, scope = var.container_ids["checkpoints"], condition = null }
      host-lake         = { who = "host", role = local.contributor, scope = var.container_ids["lake"], condition = "rows" }
      host-registry     = { who = "host", role = local.contributor, scope = var.container_ids["registry"], condition = "reports" }

      trainer-lake     = { who = "trainer", role = local.contributor, scope = var.container_ids["lake"], condition = "datasets" }
      trainer-registry = { who = "trainer", role = local.contributor, scope = var.container_ids["registry"], condition = "publish" }

      keeper-lake = { who = "keeper", role = local.contributor, scope = var.container_ids["lake"], condition = "rows" }

      devices-delegate = { who = "devices", role = "Storage Blob Delegator", scope = var.registry_account_id, condition = null }
      devices-registry = { who = "devices", role = local.contributor, scope = var.container_ids["registry"], condition = "reports" }
    },
    { for who in keys(local.programs) : "${who}-images" => { who = who, role = "AcrPull", scope = var.image_registry_id, condition = null } },
    var.has_online_endpoint ? {
      score-registry = { who = "score", role = local.contributor, scope = var.container_ids["registry"], condition = "reports" }
    } : {},
    var.retrains ? {
      trainer-key = { who = "trainer", role = local.reader_of_secrets, scope = local.retrainer_key, condition = null }
    } : {},
  )

  # Workflows, each as the environment of the repository in which it runs: who may approve there decides.
  pipelines = var.github_repository == null ? {} : {
    model-shadow  = "retrains and publishes to shadow"
    model-promote = "takes a model on"
    model-recover = "goes back to an earlier model"
    images        = "copies signed images"
  }

  of_pipelines = var.github_repository == null ? {} : {
    shadow-lake      = { who = "model-shadow", role = local.contributor, scope = var.container_ids["lake"], condition = "datasets" }
    shadow-registry  = { who = "model-shadow", role = local.contributor, scope = var.container_ids["registry"], condition = "publish" }
    shadow-key       = { who = "model-shadow", role = local.reader_of_secrets, scope = local.retrainer_key, condition = null }
    promote-registry = { who = "model-promote", role = local.contributor, scope = var.container_ids["registry"], condition = "publish" }
    promote-key      = { who = "model-promote", role = local.reader_of_secrets, scope = local.promoter_key, condition = null }
    recover-registry = { who = "model-recover", role = local.contributor, scope = var.container_ids["registry"], condition = "publish" }
    recover-key      = { who = "model-recover", role = local.reader_of_secrets, scope = local.promoter_key, condition = null }
    images-push      = { who = "images", role = "AcrPush", scope = var.image_registry_id, condition = null }
  }

  of_operators = merge(
    {
      events       = { role = local.sender, scope = var.hub_ids["events"], condition = null }
      verdicts     = { role = local.receiver, scope = var.hub_ids["verdicts"], condition = null }
      dead-letters = { role = local.receiver, scope = var.hub_ids["dead-letters"], condition = null }
      alerts       = { role = local.receiver, scope = var.hub_ids["alerts"], condition = null }
      # They begin roots of trust, publish and promote, and run a host on their own machine, which reports.
      registry = { role = local.contributor, scope = var.container_ids["registry"], condition = "keeps" }
      # They label by a host on their own machine, and retrain by hand (docs/deployment.md).
      lake = { role = local.contributor, scope = var.container_ids["lake"], condition = "labels" }
      # Pushing is all that they do there: no settings of the registry, no tokens.
      images = { role = "AcrPush", scope = var.image_registry_id, condition = null }
      # They put the two keys in and renew them. Of the vault's other secrets, and of the vault, they see nothing.
      retrainer-key = { role = "Key Vault Secrets Officer", scope = local.retrainer_key, condition = null }
      promoter-key  = { role = "Key Vault Secrets Officer", scope = local.promoter_key, condition = null }
    },
    var.has_site ? { site = { role = local.contributor, scope = var.site_container_id, condition = null } } : {},
  )

  operators = merge([
    for name, id in var.operators : {
      for what, grant in local.of_operators : "${name}-${what}" => merge(grant, { id = id })
    }
  ]...)
}

resource "azurerm_user_assigned_identity" "all" {
  for_each = local.programs

  name                = "${var.base_name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "programs" {
  for_each = local.of_programs

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.all[each.value.who].principal_id
  principal_type       = "ServicePrincipal"
  description          = "${each.value.who}: ${local.programs[each.value.who]}"
  condition            = each.value.condition == null ? null : local.conditions[each.value.condition]
  condition_version    = each.value.condition == null ? null : "2.0"
}

resource "azurerm_user_assigned_identity" "pipelines" {
  for_each = local.pipelines

  name                = "${var.base_name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_federated_identity_credential" "pipelines" {
  for_each = local.pipelines

  name                = "github"
  resource_group_name = var.resource_group_name
  parent_id           = azurerm_user_assigned_identity.pipelines[each.key].id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = "https://token.actions.githubusercontent.com"
  subject             = "repo:${var.github_repository}:environment:${each.key}"
}

resource "azurerm_role_assignment" "pipelines" {
  for_each = local.of_pipelines

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.pipelines[each.value.who].principal_id
  principal_type       = "ServicePrincipal"
  description          = "${each.value.who}: ${local.pipelines[each.value.who]}"
  condition            = each.value.condition == null ? null : local.conditions[each.value.condition]
  condition_version    = each.value.condition == null ? null : "2.0"
}

resource "azurerm_role_assignment" "operators" {
  for_each = local.operators

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = each.value.id
  description          = "who operates this"
  condition            = each.value.condition == null ? null : local.conditions[each.value.condition]
  condition_version    = each.value.condition == null ? null : "2.0"
}
