# Who may do what: each role on the hub, the container or the secret that it is for.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name = "twinge-test"
  location            = "westeurope"
  tags                = {}
  base_name           = "twinge-test"
  hub_ids             = { events = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/n/eventhubs/events", verdicts = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/n/eventhubs/verdicts", dead-letters = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/n/eventhubs/dead-letters", alerts = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/n/eventhubs/alerts" }
  container_ids       = { lake = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/lake/blobServices/default/containers/lake", registry = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/reg/blobServices/default/containers/registry", checkpoints = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/ckpt/blobServices/default/containers/checkpoints" }
  registry_account_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/reg"
  image_registry_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ContainerRegistry/registries/images"
  vault_id            = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.KeyVault/vaults/vault"
  retrains            = true
  has_online_endpoint = true
  has_site            = true
  site_container_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/site/blobServices/default/containers/$web"
  github_repository   = "twinge/twinge"
  operators           = { ann = "00000000-0000-0000-0000-00000000000a" }
}

run "programs" {
  module {
    source = "./modules/identity"
  }

  # The whole list, so that no role comes to be without a line here.
  assert {
    condition = { for key, role in azurerm_role_assignment.programs : key => "${role.role_definition_name} on ${replace(role.scope, "/^.*[/]providers[/]Microsoft[.]/", "")}" } == {
      host-events       = "Azure Event Hubs Data Receiver on EventHub/namespaces/n/eventhubs/events"
      host-verdicts     = "Azure Event Hubs Data Sender on EventHub/namespaces/n/eventhubs/verdicts"
      host-dead-letters = "Azure Event Hubs Data Sender on EventHub/namespaces/n/eventhubs/dead-letters"
      host-alerts       = "Azure Event Hubs Data Sender on EventHub/namespaces/n/eventhubs/alerts"
      host-checkpoints  = "Storage Blob Data Contributor on Storage/storageAccounts/ckpt/blobServices/default/containers/checkpoints"
      host-lake         = "Storage Blob Data Contributor on Storage/storageAccounts/lake/blobServices/default/containers/lake"
      host-registry     = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      host-images       = "AcrPull on ContainerRegistry/registries/images"
      trainer-lake      = "Storage Blob Data Contributor on Storage/storageAccounts/lake/blobServices/default/containers/lake"
      trainer-registry  = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      trainer-key       = "Key Vault Secrets User on KeyVault/vaults/vault/secrets/twinge-retrainer-key"
      trainer-images    = "AcrPull on ContainerRegistry/registries/images"
      keeper-lake       = "Storage Blob Data Contributor on Storage/storageAccounts/lake/blobServices/default/containers/lake"
      keeper-images     = "AcrPull on ContainerRegistry/registries/images"
      devices-delegate  = "Storage Blob Delegator on Storage/storageAccounts/reg"
      devices-registry  = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      devices-images    = "AcrPull on ContainerRegistry/registries/images"
      score-registry    = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      score-images      = "AcrPull on ContainerRegistry/registries/images"
    }
    error_message = "each program may do what it does, where it does it, and nothing else"
  }

  assert {
    condition = alltrue([
      for key in ["host-registry", "devices-registry", "score-registry"] :
      strcontains(azurerm_role_assignment.programs[key].condition, ":path] StringLike 'fleet/*'")
      && strcontains(azurerm_role_assignment.programs[key].condition, "AND (!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'})")
      && azurerm_role_assignment.programs[key].condition_version == "2.0"
    ])
    error_message = "of the registry, programs that score may write reports and delete nothing"
  }

  assert {
    condition = (
      strcontains(azurerm_role_assignment.programs["trainer-lake"].condition, ":path] StringLike '_datasets/*'")
      && strcontains(azurerm_role_assignment.programs["trainer-registry"].condition, "StringNotLike 'trust/*'")
      && strcontains(azurerm_role_assignment.programs["trainer-registry"].condition, "StringNotLike 'fleet/*'")
    )
    error_message = "the trainer reads the lake and writes datasets; in the registry it touches neither reports nor roots of trust"
  }

  assert {
    condition     = alltrue([for key in ["host-lake", "keeper-lake"] : strcontains(azurerm_role_assignment.programs[key].condition, "StringNotLike '_datasets/*'")])
    error_message = "who fills and keeps the lake must leave datasets alone"
  }

  # A condition whose brackets do not match is refused by Azure alone.
  assert {
    condition = alltrue([
      for role in concat(values(azurerm_role_assignment.programs), values(azurerm_role_assignment.pipelines), values(azurerm_role_assignment.operators)) :
      length(regexall("[(]", role.condition)) == length(regexall("[)]", role.condition)) && length(regexall("{", role.condition)) == length(regexall("}", role.condition))
      if role.condition != null
    ])
    error_message = "brackets of conditions must match"
  }
}

run "people_and_workflows" {
  module {
    source = "./modules/identity"
  }

  assert {
    condition = { for key, role in azurerm_role_assignment.operators : key => "${role.role_definition_name} on ${replace(role.scope, "/^.*[/]providers[/]Microsoft[.]/", "")}" } == {
      ann-events        = "Azure Event Hubs Data Sender on EventHub/namespaces/n/eventhubs/events"
      ann-verdicts      = "Azure Event Hubs Data Receiver on EventHub/namespaces/n/eventhubs/verdicts"
      ann-dead-letters  = "Azure Event Hubs Data Receiver on EventHub/namespaces/n/eventhubs/dead-letters"
      ann-alerts        = "Azure Event Hubs Data Receiver on EventHub/namespaces/n/eventhubs/alerts"
      ann-registry      = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      ann-lake          = "Storage Blob Data Contributor on Storage/storageAccounts/lake/blobServices/default/containers/lake"
      ann-images        = "AcrPush on ContainerRegistry/registries/images"
      ann-retrainer-key = "Key Vault Secrets Officer on KeyVault/vaults/vault/secrets/twinge-retrainer-key"
      ann-promoter-key  = "Key Vault Secrets Officer on KeyVault/vaults/vault/secrets/twinge-promoter-key"
      ann-site          = "Storage Blob Data Contributor on Storage/storageAccounts/site/blobServices/default/containers/$web"
    }
    error_message = "operators may do what docs/deployment.md has them do, and nothing else"
  }

  assert {
    condition     = azurerm_role_assignment.operators["ann-registry"].condition == "(!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/move/action'}))" && azurerm_role_assignment.operators["ann-registry"].condition_version == "2.0"
    error_message = "people must not delete in the registry: what was published stays"
  }

  assert {
    condition = (
      strcontains(azurerm_role_assignment.operators["ann-lake"].condition, ":path] StringLike '_labels/*'")
      && strcontains(azurerm_role_assignment.operators["ann-lake"].condition, ":path] StringLike '_datasets/*'")
      && strcontains(azurerm_role_assignment.operators["ann-lake"].condition, "AND (!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'})")
      && azurerm_role_assignment.operators["ann-lake"].condition_version == "2.0"
    )
    error_message = "of the lake, people write labels and datasets, and neither rows nor the manifest; they delete nothing"
  }

  assert {
    condition = { for key, role in azurerm_role_assignment.pipelines : key => "${role.role_definition_name} on ${replace(role.scope, "/^.*[/]providers[/]Microsoft[.]/", "")}" } == {
      shadow-lake      = "Storage Blob Data Contributor on Storage/storageAccounts/lake/blobServices/default/containers/lake"
      shadow-registry  = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      shadow-key       = "Key Vault Secrets User on KeyVault/vaults/vault/secrets/twinge-retrainer-key"
      promote-registry = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      promote-key      = "Key Vault Secrets User on KeyVault/vaults/vault/secrets/twinge-promoter-key"
      recover-registry = "Storage Blob Data Contributor on Storage/storageAccounts/reg/blobServices/default/containers/registry"
      recover-key      = "Key Vault Secrets User on KeyVault/vaults/vault/secrets/twinge-promoter-key"
      images-push      = "AcrPush on ContainerRegistry/registries/images"
    }
    error_message = "a workflow that goes to shadow must not read the promoter's key, and one that copies images no key at all"
  }

  assert {
    condition = alltrue([
      for environment, credential in azurerm_federated_identity_credential.pipelines :
      credential.subject == "repo:twinge/twinge:environment:${environment}"
    ])
    error_message = "an identity must trust one environment of one repository"
  }
}

run "nothing_more_than_asked_for" {
  variables {
    retrains            = false
    has_online_endpoint = false
    has_site            = false
    site_container_id   = null
    github_repository   = null
    operators           = {}
  }

  module {
    source = "./modules/identity"
  }

  assert {
    condition = (
      !contains(keys(azurerm_role_assignment.programs), "trainer-key") && !contains(keys(azurerm_user_assigned_identity.all), "score")
      && length(azurerm_role_assignment.operators) == 0 && length(azurerm_user_assigned_identity.pipelines) == 0
    )
    error_message = "no key may be read, and nobody known, where nothing is retrained and nobody was named"
  }
}
