# Azure Machine Learning: MLflow's server for experiments (docs/experiments.md), and as an option the model
# endpoint. The workspace is a template, since the provider cannot tell it to use its account by identity
# (docs/decisions/0042), and the account has no keys.
locals {
  workspace_name = "${var.base_name}-learning"
  workspace_id   = "${var.resource_group_id}/providers/Microsoft.MachineLearningServices/workspaces/${local.workspace_name}"
  endpoint_name  = "${var.base_name}-score"
  access         = var.public_access ? "Enabled" : "Disabled"
  api_version    = "2024-10-01"

  workspace = {
    type       = "Microsoft.MachineLearningServices/workspaces"
    apiVersion = local.api_version
    name       = local.workspace_name
    location   = var.location
    tags       = var.tags
    identity   = { type = "SystemAssigned" }
    sku        = { name = "Basic", tier = "Basic" }
    properties = {
      friendlyName             = local.workspace_name
      storageAccount           = azurerm_storage_account.this.id
      keyVault                 = var.vault_id
      applicationInsights      = var.insights_id
      containerRegistry        = var.image_registry_id
      publicNetworkAccess      = local.access
      systemDatastoresAuthMode = "identity"
      v1LegacyMode             = false
    }
  }

  endpoint = flatten([for wanted in var.online_endpoint[*] : [
    {
      type       = "Microsoft.MachineLearningServices/workspaces/environments/versions"
      apiVersion = local.api_version
      name       = "${local.workspace_name}/host/${substr(sha1(wanted.image), 0, 8)}"
      dependsOn  = ["[resourceId('Microsoft.MachineLearningServices/workspaces', '${local.workspace_name}')]"]
      properties = {
        image  = wanted.image
        osType = "Linux"
        inferenceConfig = {
          livenessRoute  = { port = 8080, path = "/v2/health/live" }
          readinessRoute = { port = 8080, path = "/v2/health/ready" }
          scoringRoute   = { port = 8080, path = "/v2/models/${wanted.variables["TWINGE_DETECTOR"]}/infer" }
        }
      }
    },
    {
      type       = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
      apiVersion = local.api_version
      name       = "${local.workspace_name}/${local.endpoint_name}"
      location   = var.location
      tags       = var.tags
      dependsOn  = ["[resourceId('Microsoft.MachineLearningServices/workspaces', '${local.workspace_name}')]"]
      identity   = { type = "UserAssigned", userAssignedIdentities = { (wanted.identity_id) = {} } }
      properties = { authMode = "AADToken", publicNetworkAccess = local.access, traffic = {} }
    },
    {
      type       = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
      apiVersion = local.api_version
      name       = "${local.workspace_name}/${local.endpoint_name}/host"
      location   = var.location
      tags       = var.tags
      sku        = { name = "Default", capacity = wanted.instances }
      dependsOn = [
        "[resourceId('Microsoft.MachineLearningServices/workspaces/onlineEndpoints', '${local.workspace_name}', '${local.endpoint_name}')]",
        "[resourceId('Microsoft.MachineLearningServices/workspaces/environments/versions', '${local.workspace_name}', 'host', '${substr(sha1(wanted.image), 0, 8)}')]",
      ]
      properties = {
        endpointComputeType       = "Managed"
        instanceType              = wanted.instance_type
        environmentId             = "${local.workspace_id}/environments/host/versions/${substr(sha1(wanted.image), 0, 8)}"
        environmentVariables      = wanted.variables
        egressPublicNetworkAccess = local.access
        # As many as the host computes at once.
        requestSettings = { maxConcurrentRequestsPerInstance = 2, requestTimeout = "PT10S" }
      }
    },
  ]])
}

resource "azurerm_storage_account" "this" {
  #checkov:skip=CKV2_AZURE_1:Microsoft's keys encrypt at rest. Keys of one's own add a vault without which nothing runs, and protect from nobody whom roles do not keep out
  #checkov:skip=CKV2_AZURE_33:Private endpoints are made in modules/endpoints wherever public access is off, which is not seen from here
  #checkov:skip=CKV_AZURE_33:There are no queues
  #checkov:skip=CKV_AZURE_35:Deny wherever public access is off, which tests hold for prod; a trial has no network of its own and asks for identities all the same
  name                              = var.account_name
  resource_group_name               = var.resource_group_name
  location                          = var.location
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = var.replication
  min_tls_version                   = "TLS1_2"
  https_traffic_only_enabled        = true
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  local_user_enabled                = false
  infrastructure_encryption_enabled = true
  public_network_access_enabled     = var.public_access
  tags                              = var.tags

  network_rules {
    default_action = var.public_access ? "Allow" : "Deny"
    bypass         = ["AzureServices"]
  }

  sas_policy {
    expiration_period = "07.00:00:00"
    expiration_action = "Log"
  }

  blob_properties {
    delete_retention_policy {
      days = var.deleted_days
    }

    container_delete_retention_policy {
      days = var.deleted_days
    }
  }
}

resource "azurerm_resource_group_template_deployment" "this" {
  name                = local.workspace_name
  resource_group_name = var.resource_group_name
  deployment_mode     = "Incremental"
  tags                = var.tags

  template_content = jsonencode({
    "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    contentVersion = "1.0.0.0"
    resources      = concat([local.workspace], local.endpoint)
  })
}
