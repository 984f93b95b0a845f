# Who may do what: each role on the hub, the container or the secret that it is for.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name = "twinge-test"
  location            = "westeurope"
  tags                = {}
  base_name           = "twinge-test"
  hub_ids             = { events = "/n/hub/events", verdicts = "/n/hub/verdicts", dead-letters = "/n/hub/dead-letters", alerts = "/n/hub/alerts" }
  container_ids       = { lake = "/lake/container", registry = "/registry/container", checkpoints = "/checkpoints/container" }
  registry_account_id = "/registry/account"
  image_registry_id   = "/images"
  vault_id            = "/vault"
  retrains            = true
  has_online_endpoint = true
  has_site            = true
  site_container_id   = "/site/container"
  github_repository   = "twinge/twinge"
  operators           = { ann = "00000000-0000-0000-0000-00000000000a" }
}

run "programs" {
  module {
    source = "./modules/identity"
  }

  # The whole list, so that no role comes to be without a line here.
  assert {
    condition = { for key, role in azurerm_role_assignment.programs : key => "${role.role_definition_name} on ${role.scope}" } == {
      host-events       = "Azure Event Hubs Data Receiver on /n/hub/events"
      host-verdicts     = "Azure Event Hubs Data Sender on /n/hub/verdicts"
      host-dead-letters = "Azure Event Hubs Data Sender on /n/hub/dead-letters"
      host-alerts       = "Azure Event Hubs Data Sender on /n/hub/alerts"
      host-checkpoints  = "Storage Blob Data Contributor on /checkpoints/container"
      host-lake         = "Storage Blob Data Contributor on /lake/container"
      host-registry     = "Storage Blob Data Contributor on /registry/container"
      host-images       = "AcrPull on /images"
      trainer-lake      = "Storage Blob Data Contributor on /lake/container"
      trainer-registry  = "Storage Blob Data Contributor on /registry/container"
      trainer-key       = "Key Vault Secrets User on /vault/secrets/twinge-retrainer-key"
      trainer-images    = "AcrPull on /images"
      keeper-lake       = "Storage Blob Data Contributor on /lake/container"
      keeper-images     = "AcrPull on /images"
      devices-delegate  = "Storage Blob Delegator on /registry/account"
      devices-registry  = "Storage Blob Data Contributor on /registry/container"
      devices-images    = "AcrPull on /images"
      score-registry    = "Storage Blob Data Contributor on /registry/container"
      score-images      = "AcrPull on /images"
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
      for role in concat(values(azurerm_role_assignment.programs), values(azurerm_role_assignment.pipelines)) :
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
    condition = { for key, role in azurerm_role_assignment.operators : key => "${role.role_definition_name} on ${role.scope}" } == {
      ann-events       = "Azure Event Hubs Data Sender on /n/hub/events"
      ann-verdicts     = "Azure Event Hubs Data Receiver on /n/hub/verdicts"
      ann-dead-letters = "Azure Event Hubs Data Receiver on /n/hub/dead-letters"
      ann-alerts       = "Azure Event Hubs Data Receiver on /n/hub/alerts"
      ann-registry     = "Storage Blob Data Contributor on /registry/container"
      ann-lake         = "Storage Blob Data Reader on /lake/container"
      ann-images       = "AcrPush on /images"
      ann-keys         = "Key Vault Secrets Officer on /vault"
      ann-site         = "Storage Blob Data Contributor on /site/container"
    }
    error_message = "operators may do what docs/deployment.md has them do, and nothing else"
  }

  assert {
    condition = { for key, role in azurerm_role_assignment.pipelines : key => "${role.role_definition_name} on ${role.scope}" } == {
      shadow-lake      = "Storage Blob Data Contributor on /lake/container"
      shadow-registry  = "Storage Blob Data Contributor on /registry/container"
      shadow-key       = "Key Vault Secrets User on /vault/secrets/twinge-retrainer-key"
      promote-registry = "Storage Blob Data Contributor on /registry/container"
      promote-key      = "Key Vault Secrets User on /vault/secrets/twinge-promoter-key"
      recover-registry = "Storage Blob Data Contributor on /registry/container"
      recover-key      = "Key Vault Secrets User on /vault/secrets/twinge-promoter-key"
      images-push      = "AcrPush on /images"
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
