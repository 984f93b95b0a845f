# Once for a subscription: where Terraform's states lie, and who deploys from GitHub.
data "azurerm_client_config" "current" {}

locals {
  suffix = substr(sha1("${data.azurerm_client_config.current.subscription_id}/${var.name}"), 0, 5)
  tags   = merge(var.tags, { application = var.name, environment = "shared", managed-by = "terraform" })

  subscription_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}"

  # Two identities for each environment: one plans, on whatever a pull request brings, and changes nothing;
  # the other applies what somebody approved.
  environments = var.github_repository == null ? toset([]) : var.environments
  planners     = { for environment in local.environments : "${environment}-plan" => environment }
  appliers     = { for environment in local.environments : environment => environment }
  deployers    = merge(local.planners, local.appliers)

  states_container = "${azurerm_storage_account.states.id}/blobServices/default/containers/${azurerm_storage_container.states.name}"

  # What a deployer may give to others: the roles that the modules give, and none that gives roles.
  grantable_roles = {
    "Azure Event Hubs Data Receiver" = "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"
    "Azure Event Hubs Data Sender"   = "2b629674-e913-4c01-ae53-ef4638d8f975"
    "Storage Blob Data Contributor"  = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
    "Storage Blob Data Reader"       = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
    "Storage Blob Delegator"         = "db58b8e5-c6ad-4a2a-8342-4190687cbf4a"
    "AcrPull"                        = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
    "AcrPush"                        = "8311e382-0749-4cb8-b61a-304f252e45ec"
    "Key Vault Secrets User"         = "4633458b-17de-408a-b874-0445c86b69e6"
    "Key Vault Secrets Officer"      = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
    "IoT Hub Registry Contributor"   = "4ea46cd5-c1b2-4a8e-910b-273211f9ce47"
    "Container Apps Jobs Operator"   = "b9a307c4-5aa3-4b52-ba60-2b17c136cd7b"
  }

  role_list   = join(", ", values(local.grantable_roles))
  role_write  = "Microsoft.Authorization/roleAssignments/write"
  role_delete = "Microsoft.Authorization/roleAssignments/delete"
  role_attr   = "Microsoft.Authorization/roleAssignments:RoleDefinitionId"

  blob = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"

  # Listing is left to all: it tells names of states and nothing in them.
  state_actions = [
    "!(ActionMatches{'${local.blob}/read'} AND NOT SubOperationMatches{'Blob.List'})",
    "!(ActionMatches{'${local.blob}/write'})",
    "!(ActionMatches{'${local.blob}/add/action'})",
    "!(ActionMatches{'${local.blob}/delete'})",
  ]

  grant_condition = join(" AND ", [
    "((!(ActionMatches{'${local.role_write}'})) OR (@Request[${local.role_attr}] ForAnyOfAnyValues:GuidEquals {${local.role_list}}))",
    "((!(ActionMatches{'${local.role_delete}'})) OR (@Resource[${local.role_attr}] ForAnyOfAnyValues:GuidEquals {${local.role_list}}))",
  ])
}

resource "azurerm_resource_group" "this" {
  name     = "${var.name}-shared"
  location = var.location
  tags     = local.tags
}

resource "azurerm_storage_account" "states" {
  #checkov:skip=CKV2_AZURE_1:Microsoft's keys encrypt at rest, and no secret is in a state but what dev may send with
  #checkov:skip=CKV2_AZURE_33:Who runs Terraform is in no network yet when this is made
  #checkov:skip=CKV_AZURE_33:There are no queues
  #checkov:skip=CKV_AZURE_35:Deny where allowed_addresses says from where; runners of GitHub have no fixed address, and an identity is asked for in any case
  #checkov:skip=CKV_AZURE_43:The name is made of a checked variable and five digits of a digest, which is not seen from here
  #checkov:skip=CKV_AZURE_59:Who runs Terraform is in no network yet when this is made; an identity is asked for in any case
  name                              = "${var.name}state${local.suffix}"
  resource_group_name               = azurerm_resource_group.this.name
  location                          = var.location
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = "GRS"
  min_tls_version                   = "TLS1_2"
  https_traffic_only_enabled        = true
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  local_user_enabled                = false
  infrastructure_encryption_enabled = true
  public_network_access_enabled     = true
  tags                              = local.tags

  network_rules {
    default_action = length(var.allowed_addresses) == 0 ? "Allow" : "Deny"
    ip_rules       = var.allowed_addresses
    bypass         = ["AzureServices"]
  }

  sas_policy {
    expiration_period = "01.00:00:00"
    expiration_action = "Log"
  }

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 90
    }

    container_delete_retention_policy {
      days = 90
    }
  }
}

# Neither a slip in the portal nor a destroy of something else takes the states along.
resource "azurerm_management_lock" "states" {
  name       = "states"
  scope      = azurerm_storage_account.states.id
  lock_level = "CanNotDelete"
  notes      = "Without its state a deployment cannot be changed any more."
}

resource "azurerm_storage_container" "states" {
  #checkov:skip=CKV2_AZURE_21:A state is read by every plan; its versions tell who changed what
  name                  = "tfstate"
  storage_account_id    = azurerm_storage_account.states.id
  container_access_type = "private"
}

resource "azurerm_storage_management_policy" "states" {
  storage_account_id = azurerm_storage_account.states.id

  rule {
    name    = "expire-versions"
    enabled = true

    filters {
      blob_types = ["blockBlob"]
    }

    actions {
      version {
        delete_after_days_since_creation = 365
      }
    }
  }
}

# Whoever makes this uses it.
resource "azurerm_role_assignment" "maker" {
  scope                = local.states_container
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = data.azurerm_client_config.current.object_id
  description          = "who made the place of the states"
}

resource "azurerm_user_assigned_identity" "deployers" {
  for_each = local.deployers

  name                = "${var.name}-infrastructure-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "deployers" {
  for_each = local.deployers

  name                = "github"
  resource_group_name = azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.deployers[each.key].id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = "https://token.actions.githubusercontent.com"
  subject             = "repo:${var.github_repository}:environment:infrastructure-${each.key}"
}

# Each reads and writes the state of its own environment.
resource "azurerm_role_assignment" "states" {
  for_each = local.deployers

  scope                = local.states_container
  role_definition_name = contains(keys(local.planners), each.key) ? "Storage Blob Data Reader" : "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.deployers[each.key].principal_id
  principal_type       = "ServicePrincipal"
  description          = "the state of ${each.value}"
  condition_version    = "2.0"
  condition            = "(${join(" AND ", local.state_actions)}) OR (@Resource[${local.blob}:path] StringLike '${each.value}.tfstate*')"
}

# To plan is to read all there is, and for that the provider asks for keys as well. Those of storage are off,
# those of hubs are off in prod.
resource "azurerm_role_definition" "planner" {
  count = length(local.planners) == 0 ? 0 : 1

  name        = "${var.name} planner"
  scope       = local.subscription_id
  description = "Reads whatever a plan compares with, and changes nothing"

  permissions {
    actions = [
      "*/read",
      "Microsoft.App/containerApps/listSecrets/action",
      "Microsoft.App/jobs/listSecrets/action",
      "Microsoft.Devices/iotHubs/listkeys/action",
      "Microsoft.EventHub/namespaces/authorizationRules/listKeys/action",
      "Microsoft.EventHub/namespaces/eventhubs/authorizationRules/listKeys/action",
      "Microsoft.Logic/workflows/triggers/listCallbackUrl/action",
      "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
      "Microsoft.Storage/storageAccounts/listKeys/action",
    ]
  }

  assignable_scopes = [local.subscription_id]
}

resource "azurerm_role_assignment" "planners" {
  for_each = local.planners

  scope              = local.subscription_id
  role_definition_id = azurerm_role_definition.planner[0].role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.deployers[each.key].principal_id
  principal_type     = "ServicePrincipal"
  description        = "plans ${each.value}"
}

# The resource group is made by the deployment, so the subscription is the scope. Give each environment a
# subscription of its own where that is too wide.
resource "azurerm_role_assignment" "appliers" {
  for_each = local.appliers

  scope                = local.subscription_id
  role_definition_name = "Contributor"
  principal_id         = azurerm_user_assigned_identity.deployers[each.key].principal_id
  principal_type       = "ServicePrincipal"
  description          = "applies ${each.value}"
}

resource "azurerm_role_assignment" "granters" {
  for_each = local.appliers

  scope                = local.subscription_id
  role_definition_name = "Role Based Access Control Administrator"
  principal_id         = azurerm_user_assigned_identity.deployers[each.key].principal_id
  principal_type       = "ServicePrincipal"
  description          = "gives the roles that the modules give, and no others"
  condition_version    = "2.0"
  condition            = local.grant_condition
}
