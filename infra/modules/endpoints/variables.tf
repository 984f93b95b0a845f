variable "resource_group_name" {
  type        = string
  description = "The resource group."
  nullable    = false
}

variable "location" {
  type        = string
  description = "The region."
  nullable    = false
}

variable "tags" {
  type        = map(string)
  description = "Tags of every resource."
  nullable    = false
}

variable "base_name" {
  type        = string
  description = "What names begin with."
  nullable    = false
}

variable "network_id" {
  type        = string
  description = "The network in which the names are known."
  nullable    = false
}

variable "subnet_id" {
  type        = string
  description = "The subnet in which the endpoints are."
  nullable    = false
}

variable "endpoints" {
  type = map(object({
    resource_id = string
    subresource = string
  }))
  description = "What gets a private endpoint: a resource, and the part of it."

  validation {
    condition = alltrue([
      for endpoint in values(var.endpoints) : contains(
        ["blob", "dfs", "web", "namespace", "vault", "registry", "iotHub", "amlworkspace", "azuremonitor"], endpoint.subresource
      )
    ])
    error_message = "endpoints must be of the parts blob, dfs, web, namespace, vault, registry, iotHub, amlworkspace and azuremonitor: for these the names in DNS are known here."
  }
}
